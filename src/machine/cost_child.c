/* Child processes that answer questions. See cost_child.h. */
#include "machine/cost_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"

/* Async-signal-safe: between fork and exec. */
static _Noreturn void become(const char *command, int socket) {
    setpgid(0, 0);
    if (dup2(socket, STDIN_FILENO) < 0 || dup2(socket, STDOUT_FILENO) < 0) _exit(127);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* A crash of the child is the child's end, whatever this process does about its own. */
static void default_signals(void) {
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < TN_COUNT(crashes); i++) signal(crashes[i], SIG_DFL);
}

static tn_status open_child(tn_child *c, const char *command,
                            void (*serve)(int socket, void *context), void *context,
                            tn_error *err) {
    int ends[2];
    *c = (tn_child){0};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return tn_error_set(err, TN_IO, "no socket for a child process: %s", strerror(errno));
    int pid = fork();
    if (pid == 0) {
        if (command) become(command, ends[1]);
        setpgid(0, 0);
        close(ends[0]);
        default_signals();
        serve(ends[1], context);
        _exit(0);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return tn_error_set(err, TN_IO, "no child process: %s", strerror(errno));
    }
    setpgid(pid, pid); /* whoever is first */
    *c = (tn_child){pid, ends[0], TN_CHILD_SECONDS};
    return TN_OK;
}

tn_status tn_child_run(tn_child *c, const char *command, tn_error *err) {
    return open_child(c, command, NULL, NULL, err);
}

tn_status tn_child_fork(tn_child *c, void (*serve)(int socket, void *context), void *context,
                        tn_error *err) {
    return open_child(c, NULL, serve, context, err);
}

/* Waits a moment for a child that closed its end, so that its own status is known. */
static int collect(tn_child *c) {
    int status = 0;
    close(c->socket);
    for (int i = 0; i < 100; i++) {
        if (waitpid(c->pid, &status, WNOHANG) != 0) break;
        if (i == 99) status = -1;
        usleep(1000);
    }
    kill(-c->pid, SIGKILL);
    if (status == -1) waitpid(c->pid, NULL, 0);
    *c = (tn_child){0};
    return status;
}

void tn_child_end(tn_child *c) {
    if (!c->pid) return;
    kill(-c->pid, SIGKILL);
    kill(c->pid, SIGKILL);
    close(c->socket);
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    *c = (tn_child){0};
}

static tn_status ended(tn_child *c, tn_error *err) {
    int status = collect(c);
    if (status == -1) return tn_error_set(err, TN_RUNTIME, "the model closed its output");
    if (WIFSIGNALED(status))
        return tn_error_set(err, TN_RUNTIME, "the model crashed: %s", strsignal(WTERMSIG(status)));
    return tn_error_set(err, TN_RUNTIME, "the model ended with status %d", WEXITSTATUS(status));
}

static tn_status wait_for(tn_child *c, short events, double deadline, tn_error *err) {
    for (;;) {
        struct pollfd p = {.fd = c->socket, .events = events};
        double left = deadline - tn_seconds();
        int ready = left > 0 ? poll(&p, 1, (int)(left * 1000) + 1) : 0;
        if (ready > 0) return TN_OK;
        if (ready < 0 && errno == EINTR) continue;
        double seconds = c->seconds;
        tn_child_end(c);
        return tn_error_set(err, TN_RUNTIME, "the model does not answer within %g s", seconds);
    }
}

static tn_status alive(const tn_child *c, tn_error *err) {
    if (c->pid) return TN_OK;
    return tn_error_set(err, TN_RUNTIME, "the model ended earlier");
}

tn_status tn_child_write(tn_child *c, const void *data, size_t size, tn_error *err) {
    double deadline = tn_seconds() + c->seconds;
    TN_CHECK(alive(c, err));
    for (const char *at = data; size;) {
        TN_CHECK(wait_for(c, POLLOUT, deadline, err));
        ssize_t n = send(c->socket, at, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n <= 0) return ended(c, err);
        at += n;
        size -= (size_t)n;
    }
    return TN_OK;
}

static tn_status receive(tn_child *c, void *data, size_t size, double deadline, int flags,
                         size_t *got, tn_error *err) {
    for (;;) {
        TN_CHECK(wait_for(c, POLLIN, deadline, err));
        ssize_t n = recv(c->socket, data, size, flags | MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n <= 0) return ended(c, err);
        *got = (size_t)n;
        return TN_OK;
    }
}

tn_status tn_child_read(tn_child *c, void *data, size_t size, tn_error *err) {
    double deadline = tn_seconds() + c->seconds;
    TN_CHECK(alive(c, err));
    for (char *at = data; size;) {
        size_t n;
        TN_CHECK(receive(c, at, size, deadline, 0, &n, err));
        at += n;
        size -= n;
    }
    return TN_OK;
}

/* Looks first, so that what follows the newline stays for the next line. */
tn_status tn_child_read_line(tn_child *c, char *out, size_t size, tn_error *err) {
    double deadline = tn_seconds() + c->seconds;
    TN_CHECK(alive(c, err));
    for (size_t used = 0; used < size;) {
        size_t n;
        TN_CHECK(receive(c, out + used, size - used, deadline, MSG_PEEK, &n, err));
        char *newline = memchr(out + used, '\n', n);
        if (newline) n = (size_t)(newline - out) + 1 - used;
        TN_CHECK(receive(c, out + used, n, deadline, 0, &n, err));
        used += n;
        if (!newline) continue;
        *newline = 0;
        return TN_OK;
    }
    tn_child_end(c);
    return tn_error_set(err, TN_RUNTIME, "the model's answer is longer than %zu bytes", size - 1);
}
