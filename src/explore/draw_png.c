/* Workloads as images. An operator stands in the row above the first one that reads it, as low as that allows; a
 * row's boxes stand side by side, in the order of the operators. Letters are points of 5 × 7, drawn twice as large. */
#include <png.h>
#include <stdio.h>

#include "explore/draw.h"

enum {
    GLYPH_ROWS = 7,
    GLYPH_COLUMNS = 5,
    SCALE = 2,
    LETTER = (GLYPH_COLUMNS + 1) * SCALE,
    BOX_HEIGHT = 56,
    ROW_GAP = 48,
    BOX_GAP = 28,
    MARGIN = 24
};

/* A bit is a point, the highest of five is the left one. */
static const struct {
    char letter;
    uint8_t rows[GLYPH_ROWS];
} glyphs[] = {
    {'a', {0, 0, 14, 1, 15, 17, 15}},    {'b', {16, 16, 30, 17, 17, 17, 30}},
    {'c', {0, 0, 15, 16, 16, 16, 15}},   {'d', {1, 1, 15, 17, 17, 17, 15}},
    {'e', {0, 0, 14, 17, 31, 16, 15}},   {'f', {6, 9, 8, 28, 8, 8, 8}},
    {'g', {0, 15, 17, 17, 15, 1, 14}},   {'h', {16, 16, 30, 17, 17, 17, 17}},
    {'i', {4, 0, 12, 4, 4, 4, 14}},      {'j', {2, 0, 6, 2, 2, 18, 12}},
    {'k', {16, 16, 18, 20, 24, 20, 18}}, {'l', {12, 4, 4, 4, 4, 4, 14}},
    {'m', {0, 0, 26, 21, 21, 21, 21}},   {'n', {0, 0, 30, 17, 17, 17, 17}},
    {'o', {0, 0, 14, 17, 17, 17, 14}},   {'p', {0, 30, 17, 17, 30, 16, 16}},
    {'q', {0, 15, 17, 17, 15, 1, 1}},    {'r', {0, 0, 22, 25, 16, 16, 16}},
    {'s', {0, 0, 15, 16, 14, 1, 30}},    {'t', {8, 8, 28, 8, 8, 9, 6}},
    {'u', {0, 0, 17, 17, 17, 19, 13}},   {'v', {0, 0, 17, 17, 17, 10, 4}},
    {'w', {0, 0, 17, 21, 21, 21, 10}},   {'x', {0, 0, 17, 10, 4, 10, 17}},
    {'y', {0, 17, 17, 17, 15, 1, 14}},   {'z', {0, 0, 31, 2, 4, 8, 31}},
    {'0', {14, 17, 19, 21, 25, 17, 14}}, {'1', {4, 12, 4, 4, 4, 4, 14}},
    {'2', {14, 17, 1, 6, 8, 16, 31}},    {'3', {30, 1, 1, 14, 1, 1, 30}},
    {'4', {2, 6, 10, 18, 31, 2, 2}},     {'5', {31, 16, 30, 1, 1, 17, 14}},
    {'6', {6, 8, 16, 30, 17, 17, 14}},   {'7', {31, 1, 2, 4, 8, 8, 8}},
    {'8', {14, 17, 17, 14, 17, 17, 14}}, {'9', {14, 17, 17, 15, 1, 2, 12}},
    {':', {0, 4, 4, 0, 4, 4, 0}},        {'_', {0, 0, 0, 0, 0, 0, 31}},
    {'.', {0, 0, 0, 0, 0, 12, 12}},      {'-', {0, 0, 0, 31, 0, 0, 0}},
};

typedef struct box {
    char size[96];
    int row, x, y, width;
} box;

typedef struct picture {
    int width, height;
    uint8_t *rgb;
} picture;

/* ---- points, lines, letters ----------------------------------------------------------------- */

static void point(picture *p, int x, int y, uint32_t colour) {
    if (x < 0 || y < 0 || x >= p->width || y >= p->height) return;
    uint8_t *at = p->rgb + ((size_t)y * (size_t)p->width + (size_t)x) * 3;
    at[0] = (uint8_t)(colour >> 16);
    at[1] = (uint8_t)(colour >> 8);
    at[2] = (uint8_t)colour;
}

static void fill(picture *p, int x, int y, int width, int height, uint32_t colour) {
    for (int j = 0; j < height; j++)
        for (int i = 0; i < width; i++) point(p, x + i, y + j, colour);
}

static void line(picture *p, int x0, int y0, int x1, int y1, uint32_t colour) {
    int dx = x1 - x0, dy = y1 - y0;
    int steps = TN_MAX(TN_MAX(dx, -dx), TN_MAX(TN_MAX(dy, -dy), 1));
    for (int i = 0; i <= steps; i++)
        fill(p, x0 + dx * i / steps, y0 + dy * i / steps, 2, 2, colour);
}

static void letter(picture *p, int x, int y, char c) {
    for (size_t g = 0; g < TN_COUNT(glyphs); g++) {
        if (glyphs[g].letter != c) continue;
        for (int j = 0; j < GLYPH_ROWS; j++)
            for (int i = 0; i < GLYPH_COLUMNS; i++)
                if (glyphs[g].rows[j] >> (GLYPH_COLUMNS - 1 - i) & 1)
                    fill(p, x + i * SCALE, y + j * SCALE, SCALE, SCALE, 0x202020);
    }
}

static void centred(picture *p, const box *b, int y, const char *text) {
    int x = b->x + (b->width - (int)strlen(text) * LETTER) / 2;
    for (; *text; text++, x += LETTER) letter(p, x, y, *text);
}

/* ---- layout --------------------------------------------------------------------------------- */

/* The row of each box; returns how many there are. */
static int find_rows(const tn_workload *w, box *boxes) {
    int rows = 0, below[TN_OPERATORS] = {0};
    for (int i = w->count; i-- > 0;) {
        rows = TN_MAX(rows, below[i] + 1);
        for (int j = 0; j < i; j++)
            if (w->before[i] >> j & 1) below[j] = TN_MAX(below[j], below[i] + 1);
    }
    for (int i = 0; i < w->count; i++) boxes[i].row = rows - 1 - below[i];
    return rows;
}

/* Boxes in rows, and the picture's size. */
static void lay_out(const tn_workload *w, box *boxes, picture *p) {
    int rows = find_rows(w, boxes), widths[TN_OPERATORS] = {0};
    for (int i = 0; i < w->count; i++) {
        box *b = &boxes[i];
        tn__operator_size(&w->operators[i], "x", b->size, sizeof b->size);
        size_t letters = TN_MAX(strlen(b->size), strlen(w->operators[i].name));
        b->width = ((int)letters + 2) * LETTER;
        widths[b->row] += b->width + (widths[b->row] ? BOX_GAP : 0);
        p->width = TN_MAX(p->width, widths[b->row] + 2 * MARGIN);
    }
    for (int r = 0; r < rows; r++) {
        int x = (p->width - widths[r]) / 2;
        for (int i = 0; i < w->count; i++) {
            if (boxes[i].row != r) continue;
            boxes[i].x = x;
            boxes[i].y = MARGIN + r * (BOX_HEIGHT + ROW_GAP);
            x += boxes[i].width + BOX_GAP;
        }
    }
    p->height = 2 * MARGIN + rows * (BOX_HEIGHT + ROW_GAP) - ROW_GAP;
}

/* From the lower edge of `from` to the upper edge of `to`; what is far below leaves aside, so that lines do not
 * hide behind the boxes between. */
static void arrow(picture *p, const box *from, const box *to) {
    static const uint32_t colour = 0x606060;
    int x0 = from->x + from->width / 2, y0 = from->y + BOX_HEIGHT;
    int x1 = to->x + to->width / 2, y1 = to->y;
    if (to->row > from->row + 1) {
        bool right = x0 * 2 >= p->width;
        x0 = right ? from->x + from->width - LETTER : from->x + LETTER;
        x1 = right ? to->x + to->width - LETTER : to->x + LETTER;
    }
    line(p, x0, y0, x1, y1 - 4, colour);
    for (int i = 0; i < 8; i++) fill(p, x1 - i / 2, y1 - 2 - i, i + 2, 1, colour);
}

static void draw(picture *p, const tn_workload *w, const box *boxes) {
    static const uint32_t colours[] = {0xdbe9f6, 0xfde5cd, 0xdff0d8, 0xdff0d8};
    fill(p, 0, 0, p->width, p->height, 0xffffff);
    for (int i = 0; i < w->count; i++)
        for (int j = 0; j < i; j++)
            if (tn__draws_edge(w, j, i)) arrow(p, &boxes[j], &boxes[i]);
    for (int i = 0; i < w->count; i++) {
        const box *b = &boxes[i];
        fill(p, b->x, b->y, b->width, BOX_HEIGHT, 0x404040);
        fill(p, b->x + 2, b->y + 2, b->width - 4, BOX_HEIGHT - 4, colours[w->operators[i].kind]);
        centred(p, b, b->y + 9, w->operators[i].name);
        centred(p, b, b->y + 33, b->size);
    }
}

/* ---- the file ------------------------------------------------------------------------------- */

static tn_status encode(const picture *p, tn_str *out, tn_error *err) {
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)p->width,
                       .height = (png_uint_32)p->height,
                       .format = PNG_FORMAT_RGB};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
    void *bytes = tn_alloc(out->allocator, size);
    if (!bytes) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory for a picture");
    bool made = png_image_write_to_memory(&image, bytes, &size, 0, p->rgb, 0, NULL) != 0;
    if (made) tn_str_append_n(out, bytes, size);
    tn_free(out->allocator, bytes);
    if (made) return TN_OK;
    return tn_error_set(err, TN_OUT_OF_MEMORY, "a picture: %s", image.message);
}

tn_status tn__draw_png(const tn_workload *w, tn_str *out, tn_error *err) {
    box boxes[TN_OPERATORS] = {0};
    picture p = {0};
    lay_out(w, boxes, &p);
    p.rgb = tn_alloc(out->allocator, (size_t)p.width * (size_t)p.height * 3);
    if (!p.rgb) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory for a picture");
    draw(&p, w, boxes);
    tn_status status = encode(&p, out, err);
    tn_free(out->allocator, p.rgb);
    return status;
}
