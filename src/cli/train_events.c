/* See train_events.h. Numbers are little-endian. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "cli/train_events.h"

#define PREFIX "events.out.tfevents." /* seconds since 1970 */
#define MARK   ".tenon."              /* process */

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

/* ---- what is there -------------------------------------------------------------------------- */

static uint64_t number_at(const uint8_t *data, int bytes) {
    uint64_t x = 0;
    for (int i = 0; i < bytes; i++) x |= (uint64_t)data[i] << 8 * i;
    return x;
}

/* The step of an event, which begins as event() writes it; INT64_MAX: it does not. */
static int64_t step_of(const uint8_t *body, size_t size) {
    uint64_t step = 0;
    if (size < 11 || body[0] != (1 << 3 | FIXED64) || body[9] != (2 << 3 | VARINT))
        return INT64_MAX;
    for (size_t i = 10, shift = 0; i < size && shift < 63; i++, shift += 7) {
        step |= (uint64_t)(body[i] & 127) << shift;
        if (!(body[i] & 128)) return (int64_t)step;
    }
    return INT64_MAX;
}

/* Bytes of the whole records up to `step`, which come first. */
static size_t sound_bytes(const tn_file_map *m, int64_t step) {
    size_t at = 0;
    while (m->size - at >= 16) {
        const uint8_t *head = m->data + at, *body = head + 12;
        uint64_t size = number_at(head, 8);
        if (number_at(head + 8, 4) != checksum(head, 8) || size > m->size - at - 16) break;
        if (number_at(body + size, 4) != checksum(body, size) || step_of(body, size) > step) break;
        at += 16 + size;
    }
    return at;
}

static tn_status cut_file(const char *path, int64_t step, tn_error *err) {
    tn_file_map map;
    TN_CHECK(tn_file_map_open(&map, path, err));
    size_t size = map.size, sound = sound_bytes(&map, step);
    tn_file_map_close(&map);
    if (sound == size || truncate(path, (off_t)sound) == 0) return TN_OK;
    return tn_error_set(err, TN_IO, "%s: cannot cut: %s", path, strerror(errno));
}

tn_status cli_events_cut(const char *folder, int64_t step, tn_error *err) {
    char path[1024];
    const struct dirent *entry;
    DIR *d = opendir(folder);
    tn_status status = TN_OK;
    while (status == TN_OK && d && (entry = readdir(d))) {
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0 || !strstr(entry->d_name, MARK))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        status = cut_file(path, step, err);
    }
    if (d) closedir(d);
    return status;
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
    snprintf(e->path, sizeof e->path, "%s/" PREFIX "%lld" MARK "%lld", folder,
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

tn_status cli_events_flush(train_events *e, bool durable, tn_error *err) {
    bool ok = fflush(e->file) == 0 && (!durable || fdatasync(fileno(e->file)) == 0);
    return ok ? TN_OK : failed(e, "write", err);
}

void cli_events_close(train_events *e) {
    if (e->file) fclose(e->file);
    e->file = NULL;
}
