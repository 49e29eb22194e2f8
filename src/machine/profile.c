/* The machine's profile as a file. See profile.h. */
#include "machine/profile.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/json.h"

#define SCHEMA "tenon.machine/3"

json_t *tn_roofs_json(const tn_roofs *r) {
    json_t *scaling = json_array();
    for (int i = 0; i < r->scale_count; i++)
        json_array_append_new(scaling,
                              json_pack("{s:i, s:f, s:f}", "threads", r->scale[i].threads, "gflops",
                                        r->scale[i].gflops, "read_gbs", r->scale[i].read_gbs));
    return json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "threads",
                     r->threads, "gflops_1", r->gflops_1, "gflops", r->gflops, "read_gbs_1",
                     r->read_gbs_1, "read_gbs", r->read_gbs, "copy_gbs_1", r->copy_gbs_1,
                     "copy_gbs", r->copy_gbs, "cache_gbs", r->cache_gbs, "cache_bytes",
                     r->cache_bytes, "handoff_ns", r->handoff_ns, "scaling", scaling);
}

static json_t *profile_json(const tn_profile *p) {
    return json_pack("{s:s, s:s, s:s, s:o}", "schema", SCHEMA, "cpu", p->cpu, "target", p->target,
                     "roofs", tn_roofs_json(&p->roofs));
}

tn_status tn_profile_write(tn_profile *p, const char *path, tn_error *err) {
    char hash[65];
    json_t *json = profile_json(p);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    if (text) {
        tn_sha256_hex(text, strlen(text), hash);
        snprintf(p->id, sizeof p->id, "%.16s", hash);
        json_object_set_new(json, "id", json_string(p->id));
        free(text);
        text = json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    }
    json_decref(json);
    if (!text) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    tn_status status = tn_file_write(path, text, strlen(text), false, err);
    free(text);
    return status;
}

static void read_scaling(const json_t *list, tn_roofs *r) {
    size_t i;
    json_t *row;
    json_array_foreach(list, i, row) {
        if (r->scale_count == TN_ROOF_SCALES) break;
        int at = r->scale_count++;
        r->scale[at].threads = (int)json_integer_value(json_object_get(row, "threads"));
        r->scale[at].gflops = json_number_value(json_object_get(row, "gflops"));
        r->scale[at].read_gbs = json_number_value(json_object_get(row, "read_gbs"));
    }
}

bool tn_profile_read(tn_profile *p, const char *path, const char *cpu) {
    *p = (tn_profile){0};
    tn_roofs *r = &p->roofs;
    const char *id = NULL, *measured_cpu = NULL, *target = NULL;
    json_t *json = tn_json_read(path, 0, NULL), *scaling = NULL;
    bool ok =
        json &&
        json_unpack(json,
                    "{s:s, s:s, s:s, s:{s:i, s:F, s:F, s:F, s:F, s:F, s:F, s:F, s:F, s:F, s:o}}",
                    "id", &id, "cpu", &measured_cpu, "target", &target, "roofs", "threads",
                    &r->threads, "gflops_1", &r->gflops_1, "gflops", &r->gflops, "read_gbs_1",
                    &r->read_gbs_1, "read_gbs", &r->read_gbs, "copy_gbs_1", &r->copy_gbs_1,
                    "copy_gbs", &r->copy_gbs, "cache_gbs", &r->cache_gbs, "cache_bytes",
                    &r->cache_bytes, "handoff_ns", &r->handoff_ns, "scaling", &scaling) == 0;
    ok = ok && (!cpu || strcmp(measured_cpu, cpu) == 0);
    if (ok) {
        snprintf(p->id, sizeof p->id, "%s", id);
        snprintf(p->cpu, sizeof p->cpu, "%s", measured_cpu);
        snprintf(p->target, sizeof p->target, "%s", target);
        read_scaling(scaling, r);
    }
    json_decref(json);
    return ok;
}
