/* The inner side of the import: names in scope, and what is known about their values.
 *
 * A scope is a graph, a sub-graph or a called function. Several scopes may build into one graph
 * (functions and static branches are inlined); each graph has one tn_onnx_level. */
#ifndef TENON_IMPORT_ONNX_SCOPE_H
#define TENON_IMPORT_ONNX_SCOPE_H

#include "import/import.h"
#include "import/onnx/context.h"

typedef enum tn_onnx_item_kind { TN_ITEM_TENSOR, TN_ITEM_SEQUENCE, TN_ITEM_NONE } tn_onnx_item_kind;

struct tn_onnx_item {
    tn_onnx_item_kind kind;             /* NONE: an optional without a value */
    struct tn_onnx_level *level;        /* the graph that `value` is in */
    tn_value value;                     /* TN_NO_VALUE: not built yet */
    const tn_known *known;              /* NULL: not known, or not looked at yet */
    const tn_onnx_content *initializer; /* NULL: not one */
    bool weight; /* an initializer that is an input of the graph: its elements may change */
    const char *name;
    int count; /* SEQUENCE */
    tn_onnx_item *const *items;
};

/* Values of a graph that could be evaluated: constants, and what follows from them. */
typedef enum tn_onnx_fold {
    TN_FOLD_UNSEEN,
    TN_FOLD_OPEN,
    TN_FOLD_STATIC,
    TN_FOLD_DONE
} tn_onnx_fold;

typedef struct tn_onnx_level {
    tn_builder builder;
    struct tn_onnx_level *parent;
    TN_VEC(uint8_t) fold;    /* tn_onnx_fold of each value */
    TN_VEC(tn_array) arrays; /* of values with TN_FOLD_DONE */
} tn_onnx_level;

typedef struct tn_onnx_capture {
    tn_onnx_item *outer, *inner;
} tn_onnx_capture;

/* A bound that the model implies: it is valid only when the symbol does not exceed it. */
typedef struct tn_onnx_bound {
    const char *symbol;
    int64_t hi;
} tn_onnx_bound;
typedef TN_VEC(tn_onnx_bound) tn_onnx_bounds;

/* A size that the run binds to `length`, counted in `value`. */
typedef struct tn_onnx_data_size {
    uint32_t symbol;
    tn_onnx_level *level;
    tn_value value, length;
    tn_dim size;
} tn_onnx_data_size;

/* What dynamic.c has made of a mask in the outermost graph. */
typedef struct tn_onnx_selected {
    tn_value mask;
    tn_dim count;
    tn_value places;
} tn_onnx_selected;

typedef struct tn_onnx_importer {
    const tn_import_options *options;
    tn_import *result;
    tn_arena *arena, *scratch;
    const tn_onnx_model *model;
    tn_onnx_files files;
    tn_map implied;   /* symbol → its size, from bound values */
    tn_map functions; /* "domain:name:overload" → index */
    double work;      /* operations that evaluation may still take */
    uint32_t nodes;   /* that may still be imported */
    int depth;        /* of functions and sub-graphs */
    const char *path;
    bool needs;     /* stopped because something has to be bound */
    bool refused;   /* the error does not come from sizes */
    bool described; /* the error has the types of the inputs of the node it is about */
    TN_VEC(tn_onnx_data_size) data_sizes;
    TN_VEC(bool) marks; /* of values, see value.c */
    TN_VEC(tn_onnx_selected) selections;
    tn_onnx_bounds *bounds;
    bool again; /* stopped because a bound was found: to be repeated with it */
} tn_onnx_importer;

struct tn_onnx_scope {
    tn_onnx_importer *im;
    tn_onnx_scope *parent; /* whose names are seen; NULL: outermost, or a function */
    tn_onnx_level *level;
    tn_map names; /* → index of items */
    TN_VEC(tn_onnx_item *) items;
    const tn_onnx_opsets *opsets, *more_opsets; /* more: the model's, for a function */
    const tn_o *caller;                         /* of the function; NULL: not one */
    const tn_onnx_function *function;
    bool repeated;      /* the body of a loop; then: */
    tn_onnx_item *turn; /* its number, an i64 scalar; NULL: nothing there draws random numbers */
    TN_VEC(tn_onnx_capture) captures; /* outer values that became inputs of this graph */
    tn_map seen;                      /* outer item → index of `inner` */
    TN_VEC(tn_onnx_item *) inner;
};

void tn_onnx_scope_init(tn_onnx_scope *s, tn_onnx_importer *im, tn_onnx_scope *parent,
                        tn_onnx_level *level);
tn_onnx_level *tn_onnx_level_new(tn_onnx_importer *im, tn_graph *g, tn_onnx_level *parent,
                                 tn_error *err);

/* Names a value of this scope; an error when the name is taken. */
void tn_onnx_define(tn_onnx_scope *s, const char *name, tn_onnx_item *item);
/* The item, NULL when there is none; captured from an outer graph when it is there. */
tn_onnx_item *tn_onnx_lookup(tn_onnx_scope *s, const char *name);
bool tn_onnx_visible(const tn_onnx_scope *s, const char *name);
tn_onnx_item *tn_onnx_capture_item(tn_onnx_scope *s, tn_onnx_item *outer);

tn_onnx_item *tn_onnx_item_new(tn_onnx_scope *s, tn_value v, const char *name);
tn_onnx_item *tn_onnx_item_known(tn_onnx_scope *s, const tn_known *known, const char *name);
tn_value tn_onnx_item_build(tn_onnx_scope *s, tn_onnx_item *item);
tn_type tn_onnx_item_type(const tn_onnx_item *item);

/* The scope around: of the graph, or of the call of the function; NULL: none. */
tn_onnx_scope *tn_onnx_scope_around(const tn_onnx_scope *s);
/* The number of the turn of a loop around s, as s sees it. */
tn_onnx_item *tn_onnx_turn(tn_onnx_scope *s, const tn_onnx_scope *loop);

/* Nodes, in their order; then errors are in s->level->builder. */
void tn_onnx_import_nodes(tn_onnx_scope *s, const tn_onnx_node *nodes, uint32_t count);
/* In messages: the node's own, or that of its first output. */
const char *tn_onnx_node_name(const tn_onnx_node *n);
void tn_onnx_index_functions(tn_onnx_importer *im);
void tn_onnx_import_initializers(tn_onnx_scope *s, const tn_onnx_graph *g);

/* ---- inputs and outputs (ports.c) ----------------------------------------------------------- */

/* What bound values say about symbols. */
void tn_onnx_imply_dims(tn_onnx_importer *im);
/* Sizes and compounds that are bound are there. */
tn_status tn_onnx_check_options(const tn_onnx_importer *im, tn_error *err);
/* Those that are no initializers; the import needs more when a compound is not bound. */
void tn_onnx_add_inputs(tn_onnx_scope *s);
void tn_onnx_add_outputs(tn_onnx_scope *s);
/* As far as the file tells, when there is no graph. */
tn_status tn_onnx_declare_outputs(tn_onnx_importer *im, tn_error *err);

/* ---- weights (weights.c) -------------------------------------------------------------------- */

/* Fills the result's weights from the initializers in scope. */
void tn_onnx_find_weights(tn_onnx_scope *s, const tn_onnx_graph *g);

/* ---- values (value.c) ----------------------------------------------------------------------- */

/* The value's elements when they follow from constants and bound inputs. */
bool tn_onnx_value_array(tn_onnx_scope *s, tn_onnx_level *level, tn_value v, tn_array *out);
bool tn_onnx_item_array(tn_onnx_scope *s, tn_onnx_item *item, tn_array *out);
/* Whole numbers among these, small, and sizes. */
bool tn_onnx_item_get_known(tn_onnx_scope *s, tn_onnx_item *item, tn_known *out);
/* Stops the import: the item's value must be known. */
void tn_onnx_ask_value(tn_o *o, const tn_onnx_item *item, const char *what);
/* Stops the import: the size must be a number. */
void tn_onnx_ask_dim(tn_o *o, tn_dim d, const char *what);
/* Whether the size has symbols that the run binds. */
bool tn_onnx_depends_on_data(tn_o *o, tn_dim d);
/* Whether the value follows from inputs of a few integers or flags: such are bound, not computed with. */
bool tn_onnx_is_choice(tn_o *o, tn_value v);
/* After an error at a node whose operands have open sizes: asks for these. */
void tn_onnx_ask_after_error(tn_o *o);

/* ---- known values (known.c) ----------------------------------------------------------------- */

/* Imports the node as arithmetic on known values; false when it is not that. */
bool tn_onnx_import_known(tn_o *o);

#endif
