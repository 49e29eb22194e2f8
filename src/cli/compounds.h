/* Sequences and optionals among a model's inputs and outputs.
 *
 * Values come as -i NAME[0]=FILE -i NAME[1]=FILE …, or together as -i NAME=FILE with an .npz or the .pb of a
 * sequence or optional; NAME=[] is a sequence without elements, NAME=none an optional without a value. */
#ifndef TENON_CLI_COMPOUNDS_H
#define TENON_CLI_COMPOUNDS_H

#include <jansson.h>
#include <tenon/session.h>

#include "cli/cli.h"
#include "import/import.h"

/* One input or output as the model's file has it: a tensor, or a compound. */
typedef struct cli_unit {
    bool is_compound;
    tn_compound compound; /* else only `first`: the tensor's number */
} cli_unit;
typedef TN_VEC(cli_unit) cli_units;

/* `ports` inputs or outputs, some of which are the tensors of `compounds`, in the file's order. */
cli_units cli_units_of(tn_arena *arena, const tn_compound *compounds, int count, int ports);
/* Those of a model's inputs, or of a session's outputs; in the arena. */
tn_compound *cli_input_compounds(tn_arena *arena, const tn_model *m, int *count);
tn_compound *cli_output_compounds(tn_arena *arena, const tn_session *s, int *count);

/* "a sequence of 3 tensors", "an optional without a value" */
const char *cli_compound_text(tn_arena *arena, const tn_compound *of);
/* [{name, kind, first, count}], count null without a value */
json_t *cli_compounds_json(const tn_compound *at, int count);

/* Whether the model has inputs whose number of tensors is to be bound. */
bool cli_has_unbound(const tn_model *m);
/* Binds these in the options, by --tensors and by the values given. */
tn_status cli_compounds_choose(cli *c, const tn_model *m, tn_model_options *o, tn_error *err);
/* A binding to tensors of these shapes. */
tn_compound_binding cli_compound_binding(tn_arena *arena, const char *name,
                                         const tn_import_compound *value);

/* The tensors of -i NAME=VALUE where NAME is the whole compound: read from a file, none for [] and none. */
tn_status cli_compound_read(tn_arena *arena, const tn_compound *of, const char *value,
                            tn_import_compound *out, tn_error *err);
/* VALUE when `word` is NAME=VALUE, else NULL. */
const char *cli_compound_value(const tn_compound *of, const char *word);

#endif
