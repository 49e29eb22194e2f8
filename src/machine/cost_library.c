/* A cost model in a shared library of the user's. It runs in a process of its own, a fork of this one, so that
 * what it does cannot hurt this one. */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "machine/cost_asker.h"

typedef struct library {
    tn_cost_asker asker;
    char path[PATH_MAX];
} library;

/* What the child says once it has opened the library. */
typedef struct greeting {
    bool ok, separable;
    char text[TN_ERROR_TEXT / 2]; /* why not, or the model's name */
} greeting;

/* A query without pointers. */
typedef struct question {
    tn_machine machine, before_machine;
    tn_cost_query query, before;
    bool has_before;
} question;

typedef struct answer {
    int failed;
    tn_cost cost;
} answer;

/* ---- the child ------------------------------------------------------------------------------ */

static bool transfer(int socket, void *data, size_t size, bool receive) {
    for (char *at = data; size;) {
        ssize_t n = receive ? read(socket, at, size) : send(socket, at, size, MSG_NOSIGNAL);
        if (n <= 0) return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

static const tn_cost_plugin *open_plugin(const char *path, greeting *hello) {
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const tn_cost_plugin *p = handle ? dlsym(handle, "tenon_cost_plugin") : NULL;
    if (!p) {
        const char *why = dlerror();
        snprintf(hello->text, sizeof hello->text, "%s", why ? why : "no symbol tenon_cost_plugin");
        return NULL;
    }
    if (p->version != TN_COST_PLUGIN_VERSION || !p->cost || !p->name) {
        snprintf(hello->text, sizeof hello->text,
                 "tenon_cost_plugin has version %d (expected %d), or no name or function",
                 p->version, TN_COST_PLUGIN_VERSION);
        return NULL;
    }
    hello->ok = true;
    hello->separable = p->separable;
    snprintf(hello->text, sizeof hello->text, "%s", p->name);
    return p;
}

static void serve(int socket, void *context) {
    greeting hello = {0};
    const tn_cost_plugin *plugin = open_plugin(context, &hello);
    if (!transfer(socket, &hello, sizeof hello, false) || !plugin) return;
    for (question q; transfer(socket, &q, sizeof q, true);) {
        answer a = {0};
        q.query.machine = &q.machine;
        q.before.machine = &q.before_machine;
        q.before.before = NULL;
        q.query.before = q.has_before ? &q.before : NULL;
        a.failed = plugin->cost(&q.query, &a.cost);
        if (!transfer(socket, &a, sizeof a, false)) return;
    }
}

/* ---- this side ------------------------------------------------------------------------------ */

static tn_status ask(tn_cost_asker *l, const tn_cost_query *q, tn_cost *out, tn_error *err) {
    question text;
    answer a;
    memset(&text, 0, sizeof text);
    text.machine = *q->machine;
    text.query = *q;
    text.has_before = q->before && !l->separable;
    if (text.has_before) {
        text.before = *q->before;
        text.before_machine = *q->before->machine;
    }
    TN_CHECK(tn_child_write(&l->child, &text, sizeof text, err));
    TN_CHECK(tn_child_read(&l->child, &a, sizeof a, err));
    *out = a.cost;
    return a.failed ? tn_error_set(err, TN_RUNTIME, "the model answers error %d", a.failed) : TN_OK;
}

tn_status tn__cost_library(const char *path, tn_cost_model *m, tn_error *err) {
    greeting hello;
    tn_cost_asker *a;
    TN_CHECK(tn_cost_asker_new(&a, sizeof(library), m, err));
    library *l = m->state;
    a->ask = ask;
    m->events = true;
    /* dlopen would look for a bare name in the system's folders. */
    snprintf(l->path, sizeof l->path, "%s%s", strchr(path, '/') ? "" : "./", path);
    TN_CHECK(tn_child_fork(&a->child, serve, l->path, err));
    TN_TRY(err, tn_child_read(&a->child, &hello, sizeof hello, err), "opening '%s'", path);
    hello.text[sizeof hello.text - 1] = 0;
    if (!hello.ok)
        return tn_error_set(err, TN_INVALID, "'%s' is no cost model: %s", path, hello.text);
    snprintf(m->name, sizeof m->name, "%.*s", (int)sizeof m->name - 1, hello.text);
    m->separable = a->separable = hello.separable;
    return TN_OK;
}
