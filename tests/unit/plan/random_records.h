/* Record sources for tests: other records than the chosen ones, or nonsense. */
#ifndef TENON_TESTS_RANDOM_RECORDS_H
#define TENON_TESTS_RANDOM_RECORDS_H

#include "plan/records.h"
#include "schedule/candidates.h"
#include "unit/test.h"

typedef struct random_records {
    tn_record_source source; /* first */
    uint64_t seed;
    tn_arena *arena;
    bool exact; /* none that changes rounding */
    uint32_t used;
} random_records;

/* A walk of a few steps from the chosen record, the same for the same kernel and seed. */
static inline bool random_records_walk(void *context, const tn_kernel_site *site,
                                       tn_schedule *record) {
    enum { STEPS = 3 };
    random_records *r = context;
    const tn_grouping *p = site->context->grouping;
    const tn_group *g = &p->groups.data[site->group];
    const tn_schedule chosen = *record;
    uint64_t state = r->seed ^ tn_hash64(site->key, 64);
    for (int i = 0; i < STEPS; i++) {
        tn_schedule_list list = {0};
        tn_schedule_neighbours(p, g, &chosen, record,
                               (uint32_t)site->context->target->vector_registers, r->arena, &list);
        if (list.len == 0) break;
        tn_schedule next = list.data[test_random(&state) % list.len];
        assert_true(tn_schedule_fits(g, &chosen, &next));
        assert_false(tn_schedule_same(&next, record));
        bool rounds = next.kv_block != chosen.kv_block || next.winograd != chosen.winograd ||
                      next.k_pieces != chosen.k_pieces;
        if (!r->exact || !rounds) *record = next;
    }
    r->used++;
    return true;
}

/* What a file that is not ours might hold. */
static inline bool random_records_nonsense(void *context, const tn_kernel_site *site,
                                           tn_schedule *record) {
    static const int64_t odd[] = {0, 1, 2, 3, 4, 7, 8, 15, 16, 32, 48, 96, 1000, 1 << 20, 1 << 30};
    random_records *r = context;
    uint64_t state = r->seed ^ tn_hash64(site->key, 64);
    json_t *json = tn_schedule_json(record);
    const char *name;
    json_t *value;
    json_object_foreach(json, name, value) {
        if (test_random(&state) % 3 == 0)
            json_integer_set(value, odd[test_random(&state) % TN_COUNT(odd)]);
    }
    assert_true(tn_schedule_read(record, json));
    json_decref(json);
    r->used++;
    return true;
}

static inline random_records *random_records_of(tn_arena *arena, uint64_t seed, bool exact) {
    random_records *r = TN_NEW(arena, random_records);
    *r = (random_records){{r, random_records_walk}, seed, arena, exact, 0};
    return r;
}

#endif
