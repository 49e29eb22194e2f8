/* Compiled programs in the cache on disk. See program_cache.h. */
#include "session/program_cache.h"

#include <sys/stat.h>

#include "session/identity.h"
#include "session/tunings.h"

void tn_program_cache_identify(const tn_workshop *w, tn_str *out) {
    const tn_compiler *c = &w->compiler;
    tn_str_append(out, "tenon program 1\n");
    tn_identify_build(out);
    tn_str_appendf(out, "target %s no_opt %d\n", c->target->name, w->options.no_opt);
    tn_str_appendf(out, "costs %.3g %.3g %.3g %.3g %.3g %.3g\n", c->costs.memory, c->costs.cache,
                   c->costs.points, c->costs.launch, c->costs.cached_bytes, c->costs.shared_bytes);
    char generation[TN_TUNING_ID] = "none";
    if (!w->options.no_tuned) tn_tunings_id(c, generation);
    tn_str_appendf(out, "tuned %s\n", generation);
}

void tn_program_cache_name(const tn_str *text, char out[TN_PROGRAM_CACHE_NAME]) {
    tn_sha256_hex(text->data, text->len, out);
    strcpy(out + 64, ".tn");
}

bool tn_program_cache_load(const tn_workshop *w, const char *name, tn_artifact **out) {
    const tn_cache *cache = &w->compiler.cache;
    char path[TN_CACHE_PATH], text[1024];
    struct stat st;
    if (!tn_cache_path(cache, name, path) || stat(path, &st) != 0) return false;
    tn_artifact *a = tn_artifact_new();
    if (!a) return false;
    tn_error why = TN_ERROR_INIT;
    if (tn_artifact_load(a, w, path, true, &why) == TN_OK) {
        a->stats.program_cached = true;
        tn_cache_touch(cache, name);
        *out = a;
        return true;
    }
    tn_artifact_release(a);
    if (why.status == TN_INVALID || why.status == TN_IO) {
        tn_error_format(&why, text, sizeof text);
        tn_log_write(TN_LOG_WARN, "cached program is made again: %s", text);
        tn_cache_remove(cache, name);
    }
    return false;
}

void tn_program_cache_store(const tn_workshop *w, const char *name, tn_artifact *a) {
    const tn_cache *cache = &w->compiler.cache;
    char path[TN_CACHE_PATH];
    tn_error err = TN_ERROR_INIT;
    double start = tn_seconds();
    if (!tn_cache_path(cache, name, path) || a->program->prepared_bytes > cache->limit) return;
    if (tn_artifact_store(a, path, &err) == TN_OK)
        tn_cache_trim(cache);
    else
        tn_cache_warn(cache, &err);
    a->stats.store = tn_seconds() - start;
}
