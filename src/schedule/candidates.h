/* The space of schedule records around the one that was chosen: which others a lowering takes, which
 * are next to one, and their form in files. */
#ifndef TENON_SCHEDULE_CANDIDATES_H
#define TENON_SCHEDULE_CANDIDATES_H

#include <jansson.h>

#include "schedule/record.h"

typedef TN_VEC(tn_schedule) tn_schedule_list;

/* Whether `s` may stand for the record that was chosen for a group: it differs only in what speed
 * depends on, and asks for no more than a few times the memory. `s` may be anything. */
bool tn_schedule_fits(const tn_group *g, const tn_schedule *chosen, const tn_schedule *s);
/* Adds the records that fit and differ from `from` in one respect, the most promising first.
 * `registers`: vector registers of the target. */
void tn_schedule_neighbours(const tn_grouping *p, const tn_group *g, const tn_schedule *chosen,
                            const tn_schedule *from, uint32_t registers, tn_arena *arena,
                            tn_schedule_list *out);

/* Equal in all that may differ between records that fit. */
bool tn_schedule_same(const tn_schedule *a, const tn_schedule *b);
/* These fields as an object of integers; the caller's reference. NULL: out of memory. */
json_t *tn_schedule_json(const tn_schedule *s);
/* Sets these fields of `s`. False, with `s` unchanged, when one is missing or no such number. */
bool tn_schedule_read(tn_schedule *s, const json_t *json);

#endif
