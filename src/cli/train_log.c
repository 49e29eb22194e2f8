/* See train_log.h. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "cli/output.h"
#include "cli/train_log.h"

/* ---- opening -------------------------------------------------------------------------------- */

static bool is_record(const char *line, size_t size, int64_t last) {
    json_t *o = json_loadb(line, size, 0, NULL);
    json_int_t step = json_integer_value(json_object_get(o, "step"));
    json_decref(o);
    return step > 0 && step <= last;
}

/* Bytes up to the last whole line of a step up to `last`. */
static size_t sound_bytes(const char *text, size_t size, int64_t last) {
    while (size) {
        size_t begin = size - 1;
        while (begin > 0 && text[begin - 1] != '\n') begin--;
        if (text[size - 1] == '\n' && is_record(text + begin, size - begin, last)) break;
        size = begin;
    }
    return size;
}

/* What is no file, such as a pipe, has no end to cut. */
static tn_status cut(const char *path, int64_t last, tn_error *err) {
    struct stat st;
    tn_file_map map;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return TN_OK;
    TN_CHECK(tn_file_map_open(&map, path, err));
    size_t size = map.size, sound = sound_bytes((const char *)map.data, size, last);
    tn_file_map_close(&map);
    if (sound == size || truncate(path, (off_t)sound) == 0) return TN_OK;
    return tn_error_set(err, TN_IO, "%s: cannot cut the log back to step %lld: %s", path,
                        (long long)last, strerror(errno));
}

tn_status cli_train_log_open(train_log *log, const char *path, int64_t at, const char *folder,
                             tn_error *err) {
    log->bar = !log->c->options.quiet && !log->c->options.json && isatty(STDERR_FILENO);
    log->begin = tn_seconds();
    log->path = path;
    if (folder && at >= 0) TN_TRY(err, cli_events_cut(folder, at, err), "train.tensorboard");
    if (folder) TN_TRY(err, cli_events_open(&log->events, folder, err), "train.tensorboard");
    if (!path) return TN_OK;
    if (at >= 0) TN_TRY(err, cut(path, at, err), "train.log");
    log->file = fopen(path, at >= 0 ? "ae" : "we");
    if (log->file) return TN_OK;
    return tn_error_set(err, TN_IO, "train.log: cannot open %s: %s", path, strerror(errno));
}

tn_status cli_train_log_sync(train_log *log, tn_error *err) {
    if (log->events.file) TN_CHECK(cli_events_flush(&log->events, true, err));
    if (!log->file || fdatasync(fileno(log->file)) == 0 || errno == EINVAL || errno == EROFS)
        return TN_OK; /* a pipe has no disk */
    return tn_error_set(err, TN_IO, "train.log: cannot write %s: %s", log->path, strerror(errno));
}

static void wipe(const train_log *log) {
    if (log->bar) fprintf(stderr, "\r\033[K");
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static json_t *record_json(const train_record *r) {
    json_t *o = json_pack("{s:s, s:I, s:o, s:o, s:f, s:f, s:f}", "schema", "tenon.train/1", "step",
                          (json_int_t)r->step, "loss", cli_json_number(r->loss), "grad_norm",
                          cli_json_number(r->grad_norm), "lr", r->lr, "step_ms", r->step_ms,
                          "wait_ms", r->wait_ms);
    json_object_set_new(o, "flops", json_real(r->flops));
    if (!isnan(r->of_peak)) json_object_set_new(o, "of_peak", json_real(r->of_peak));
    if (r->skipped) json_object_set_new(o, "skipped", json_integer((json_int_t)r->skipped));
    if (r->evaluated) json_object_set_new(o, "eval_loss", cli_json_number(r->eval_loss));
    if (r->evaluated && !isnan(r->accuracy))
        json_object_set_new(o, "eval_accuracy", json_real(r->accuracy));
    return o;
}

static tn_status write_file(const train_log *log, const train_record *r, tn_error *err) {
    json_t *o = record_json(r);
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (!text) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    bool ok = fprintf(log->file, "%s\n", text) > 0 && fflush(log->file) == 0;
    free(text);
    if (ok) return TN_OK;
    return tn_error_set(err, TN_IO, "train.log: cannot write %s: %s", log->path, strerror(errno));
}

static tn_status write_events(train_log *log, const train_record *r, tn_error *err) {
    const struct {
        const char *tag;
        double value; /* NAN: there is none */
    } curves[] = {{"train/loss", r->loss},
                  {"train/grad_norm", r->grad_norm},
                  {"train/lr", r->lr},
                  {"time/step_ms", r->step_ms},
                  {"time/wait_ms", r->wait_ms},
                  {"time/of_peak", r->of_peak},
                  {"eval/loss", r->evaluated ? r->eval_loss : NAN},
                  {"eval/accuracy", r->evaluated ? r->accuracy : NAN}};
    for (size_t i = 0; i < TN_COUNT(curves); i++)
        if (!isnan(curves[i].value))
            TN_CHECK(cli_events_scalar(&log->events, r->step, curves[i].tag, curves[i].value, err));
    return cli_events_flush(&log->events, false, err);
}

/* ---- for people ----------------------------------------------------------------------------- */

/* Of the time since the run began that went into waiting for data, in percent. */
static double waiting(const train_log *log) {
    return 100 * log->waited / (tn_seconds() - log->begin);
}

static void print_line(const train_log *log, const train_record *r) {
    cli *c = log->c;
    printf("step %lld  loss %.4f", (long long)r->step, r->loss);
    if (!isnan(r->grad_norm)) printf("  grad norm %.3g", r->grad_norm);
    printf("  lr %.3g  %s %s/s  %sFLOP/s", r->lr, cli_si(c, log->items / (r->step_ms * 1e-3)),
           log->unit, cli_si(c, r->flops / (r->step_ms * 1e-3)));
    if (!isnan(r->of_peak)) printf(", %.1f %% of peak", 100 * r->of_peak);
    printf("  wait %.2f %%", waiting(log));
    if (r->skipped) printf("  skipped %llu", (unsigned long long)r->skipped);
    if (r->evaluated) printf("  held out: loss %.4f", r->eval_loss);
    if (r->evaluated && !isnan(r->accuracy)) printf(", %.2f %% right", 100 * r->accuracy);
    printf("\n");
    fflush(stdout);
}

static void draw_bar(const train_log *log, const train_record *r) {
    enum { WIDTH = 24 };
    cli *c = log->c;
    double seconds = tn_seconds() - log->begin;
    double left = seconds / (double)log->done * (double)(log->steps - r->step);
    int full = (int)(WIDTH * r->step / log->steps);
    fprintf(stderr, "\r\033[K%lld/%lld [", (long long)r->step, (long long)log->steps);
    for (int i = 0; i < WIDTH; i++) fputs(i < full ? "#" : "·", stderr);
    fprintf(stderr, "] loss %.4f  lr %.3g  %s %s/s", r->loss, r->lr,
            cli_si(c, log->items * (double)log->done / seconds), log->unit);
    if (!isnan(r->of_peak)) fprintf(stderr, "  %.1f %% of peak", 100 * r->of_peak);
    fprintf(stderr, "  wait %.2f %%  %.0f s left", waiting(log), left);
    fflush(stderr);
}

tn_status cli_train_log_step(train_log *log, const train_record *r, tn_error *err) {
    bool line = r->evaluated || r->step == log->steps || r->step % log->every == 0;
    log->done++;
    log->waited += r->wait_ms * 1e-3;
    if (log->file) TN_CHECK(write_file(log, r, err));
    if (log->events.file) TN_CHECK(write_events(log, r, err));
    if (log->c->options.json) return cli_json_line(log->c, record_json(r), err);
    if (log->c->options.quiet) return TN_OK;
    if (line) {
        wipe(log);
        print_line(log, r);
    }
    if (log->bar && r->step < log->steps) draw_bar(log, r);
    return TN_OK;
}

void cli_train_log_note(train_log *log, const char *format, ...) {
    va_list args;
    if (log->c->options.quiet) return;
    wipe(log);
    va_start(args, format);
    fprintf(stderr, "tenon: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
}

void cli_train_log_close(train_log *log) {
    if (log->c) wipe(log);
    if (log->file) fclose(log->file);
    cli_events_close(&log->events);
    log->file = NULL;
}
