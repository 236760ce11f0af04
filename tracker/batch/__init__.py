"""Many films in one go: sources and `Options` in, trees of outputs with a record of how each film fared out.

`run.run_batch` is the contract.  `plan` finds the work, `ledger` is the record, `work` does one film, `processes` and
`ray` run many side by side, `storage` reads and writes by path or URL, `report` tells a person.
"""
