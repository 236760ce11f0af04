"""One run of `fkp-track`: `Options` in, the outputs they name out.

`run.run` opens source, network, detector and outputs, moves the frames between them and closes everything; `outputs`
opens the sinks, `progress` tells a person, `doctor` checks what works on this machine.
"""
