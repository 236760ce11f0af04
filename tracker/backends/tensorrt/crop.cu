// Faces -> crops, all faces of a frame at once: gray, area filter, rotation and scale in one pass.
//
// In: the N `Face`s and the BGR pixels that `crops.stage` wrote.  Out: crops (N, 96, 96) uint8.
// The same arithmetic as tracker/geometry.py step by step, with OpenCV's own roundings, so that both give the same crop.
//
// Grid: x covers the crop's pixels, y the faces.

#define SIZE 96

struct Face {
    float axes[6];          // crop pixel (x, y, 1) -> pixel of the shrunk patch: two rows of three
    int offset;             // of the patch's first pixel, bytes into `pixels`
    int stride;             // from one row of the patch to the next, bytes
    int width, height;      // of the patch, px
    int shrink;             // frame pixels per pixel of the shrunk patch
};

__device__ static int clamped(int value, int length) {
    return value < 0 ? 0 : value >= length ? length - 1 : value;
}

// A pixel of the patch, with OpenCV's weights of blue, green and red, in 1/32768.  Beyond the patch its edge repeats.
__device__ static int gray(const Face* face, const unsigned char* pixels, int column, int row) {
    const unsigned char* bgr = pixels + face->offset + (long long)clamped(row, face->height) * face->stride
        + 3 * clamped(column, face->width);
    return (3735 * bgr[0] + 19235 * bgr[1] + 9798 * bgr[2] + 16384) >> 15;
}

// A pixel of the patch halved `times` times, rounded each time.  Its pixels are taken in Z order, where every fourth
// ends a block of 2 x 2, every fourth of those a block of 4 x 4, and so on.
__device__ static int halved(const Face* face, const unsigned char* pixels, int column, int row, int times) {
    int sums[16] = {0}, value = 0;
    for (int i = 0; i < 1 << 2 * times; ++i) {
        int x = column, y = row;
        for (int bit = 2 * times - 2; bit >= 0; bit -= 2)
            x = 2 * x + (i >> bit & 1), y = 2 * y + (i >> bit >> 1 & 1);
        value = gray(face, pixels, x, y);
        for (int level = 0; level < times; ++level) {
            sums[level] += value;
            if ((i >> 2 * level & 3) != 3) break;
            value = (sums[level] + 2) >> 2;
            sums[level] = 0;
        }
    }
    return value;
}

// A pixel of the shrunk patch: halved as often as the shrink is even, then the mean of what is left of it, rounded.
__device__ static float shrunk(const Face* face, const unsigned char* pixels, int column, int row) {
    int rest = face->shrink, halvings = 0, sum = 0;
    for (; rest % 2 == 0; rest /= 2) ++halvings;
    for (int i = 0; i < rest * rest; ++i)
        sum += halved(face, pixels, column * rest + i % rest, row * rest + i / rest, halvings);
    return rintf((float)sum * (1.0f / (float)(rest * rest)));
}

extern "C" __global__ void cut_faces(const Face* faces, const unsigned char* pixels, unsigned char* crops) {
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= SIZE * SIZE) return;
    const Face* face = faces + blockIdx.y;

    const float column = (float)(pixel % SIZE), row = (float)(pixel / SIZE);
    const float* a = face->axes;
    const float x = a[0] * column + a[1] * row + a[2], y = a[3] * column + a[4] * row + a[5];
    const float left = floorf(x), top = floorf(y), right_share = x - left, bottom_share = y - top;

    const int width = (face->width + face->shrink - 1) / face->shrink;
    const int height = (face->height + face->shrink - 1) / face->shrink;
    const int x0 = clamped((int)left, width), x1 = clamped((int)left + 1, width);
    const int y0 = clamped((int)top, height), y1 = clamped((int)top + 1, height);
    const float above = shrunk(face, pixels, x0, y0) * (1 - right_share) + shrunk(face, pixels, x1, y0) * right_share;
    const float below = shrunk(face, pixels, x0, y1) * (1 - right_share) + shrunk(face, pixels, x1, y1) * right_share;
    crops[blockIdx.y * SIZE * SIZE + pixel] = (unsigned char)rintf(above * (1 - bottom_share) + below * bottom_share);
}
