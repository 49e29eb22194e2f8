/* See train_events.h. Numbers are little-endian. */
#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "cli/train_events.h"

enum { MESSAGE = 256 }; /* bytes; tags are short */
typedef struct message {
    uint8_t data[MESSAGE];
    size_t size;
} message;

/* ---- checksums ------------------------------------------------------------------------------ */

/* CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), rotated and shifted as TFRecord wants. */
static uint32_t checksum(const uint8_t *data, size_t size) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* ---- protocol buffers ----------------------------------------------------------------------- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void put(message *m, const void *data, size_t size) {
    TN_ASSERT(m->size + size <= MESSAGE);
    memcpy(m->data + m->size, data, size);
    m->size += size;
}

static void put_number(message *m, uint64_t x, int bytes) {
    for (int i = 0; i < bytes; i++) put(m, &(uint8_t){(uint8_t)(x >> 8 * i)}, 1);
}

static void put_varint(message *m, uint64_t x) {
    for (; x > 127; x >>= 7) put_number(m, (x & 127) | 128, 1);
    put_number(m, x, 1);
}

static void put_key(message *m, unsigned field, unsigned type) {
    put_varint(m, field << 3 | type);
}

static void put_bytes(message *m, unsigned field, const void *data, size_t size) {
    put_key(m, field, BYTES);
    put_varint(m, size);
    put(m, data, size);
}

/* Event: wall_time = 1, step = 2 */
static message event(int64_t step) {
    message m = {.size = 0};
    struct timespec now;
    uint64_t bits;
    clock_gettime(CLOCK_REALTIME, &now);
    double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    memcpy(&bits, &seconds, sizeof bits);
    put_key(&m, 1, FIXED64);
    put_number(&m, bits, 8);
    put_key(&m, 2, VARINT);
    put_varint(&m, (uint64_t)step);
    return m;
}

/* ---- files ---------------------------------------------------------------------------------- */

static tn_status failed(const train_events *e, const char *what, tn_error *err) {
    return tn_error_set(err, TN_IO, "%s: cannot %s: %s", e->path, what, strerror(errno));
}

static tn_status write_record(train_events *e, const message *m, tn_error *err) {
    message head = {.size = 0}, tail = {.size = 0};
    put_number(&head, m->size, 8);
    put_number(&head, checksum(head.data, 8), 4);
    put_number(&tail, checksum(m->data, m->size), 4);
    if (fwrite(head.data, 1, head.size, e->file) == head.size &&
        fwrite(m->data, 1, m->size, e->file) == m->size &&
        fwrite(tail.data, 1, tail.size, e->file) == tail.size)
        return TN_OK;
    return failed(e, "write", err);
}

/* The first record has file_version = 3. */
tn_status cli_events_open(train_events *e, const char *folder, tn_error *err) {
    static const char version[] = "brain.Event:2";
    *e = (train_events){.file = NULL};
    TN_CHECK(tn_make_dirs(folder, 0777, err));
    snprintf(e->path, sizeof e->path, "%s/events.out.tfevents.%lld.tenon.%lld", folder,
             (long long)time(NULL), (long long)getpid());
    e->file = fopen(e->path, "wbe");
    if (!e->file) return failed(e, "open", err);
    message m = event(0);
    put_bytes(&m, 3, version, sizeof version - 1);
    return write_record(e, &m, err);
}

/* Event.summary = 5, Summary.value = 1, Value: tag = 1, simple_value = 2 */
tn_status cli_events_scalar(train_events *e, int64_t step, const char *tag, double value,
                            tn_error *err) {
    message v = {.size = 0}, summary = {.size = 0}, m = event(step);
    float number = (float)value;
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    put_bytes(&v, 1, tag, strlen(tag));
    put_key(&v, 2, FIXED32);
    put_number(&v, bits, 4);
    put_bytes(&summary, 1, v.data, v.size);
    put_bytes(&m, 5, summary.data, summary.size);
    return write_record(e, &m, err);
}

tn_status cli_events_flush(train_events *e, tn_error *err) {
    return fflush(e->file) == 0 ? TN_OK : failed(e, "write", err);
}

void cli_events_close(train_events *e) {
    if (e->file) fclose(e->file);
    e->file = NULL;
}
