/* Starting and awaiting child processes, private temporary folders. See process.h. */
#include "toolchain/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"

extern char **environ;

enum { TEMP_ROOM = 8 << 20 }; /* bytes that a compile may need */

/* ---- processes ------------------------------------------------------------------------------ */

static bool is_replaced(const char *entry, bool folder) {
    return strncmp(entry, "LC_ALL=", 7) == 0 || (folder && strncmp(entry, "TMPDIR=", 7) == 0);
}

/* The environment with messages in English and the child's own temporary folder. */
static const char **environment_of(const char *folder, char *tmpdir, size_t size) {
    size_t count = 0, n = 0;
    while (environ && environ[count]) count++;
    const char **env = calloc(count + 3, sizeof *env);
    if (!env) return NULL;
    for (size_t i = 0; i < count; i++)
        if (!is_replaced(environ[i], folder != NULL)) env[n++] = environ[i];
    env[n++] = "LC_ALL=C";
    if (folder) {
        snprintf(tmpdir, size, "TMPDIR=%s", folder);
        env[n++] = tmpdir;
    }
    return env;
}

static int spawn(tn_process *p, const char **env) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGCHLD);
    if (posix_spawn_file_actions_init(&files) != 0) return ENOMEM;
    if (posix_spawnattr_init(&attributes) != 0) {
        posix_spawn_file_actions_destroy(&files);
        return ENOMEM;
    }
    int why =
        posix_spawn_file_actions_addopen(&files, 0, p->input ? p->input : "/dev/null", O_RDONLY, 0);
    if (!why)
        why = posix_spawn_file_actions_addopen(&files, 1, p->output, O_WRONLY | O_CREAT | O_TRUNC,
                                               0600);
    if (!why) why = posix_spawn_file_actions_adddup2(&files, 1, 2);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    if (!why)
        why = posix_spawn(&p->pid, p->argv[0], &files, &attributes,
                          (char *const *)(uintptr_t)p->argv, (char *const *)(uintptr_t)env);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return why;
}

static tn_status start(tn_process *p, tn_error *err) {
    char tmpdir[4200];
    const char **env = environment_of(p->folder, tmpdir, sizeof tmpdir);
    if (!env) return tn_error_set(err, TN_OUT_OF_MEMORY, "out of memory");
    int why = spawn(p, env);
    free(env);
    if (why)
        return tn_error_set(err, TN_TOOLCHAIN, "cannot start %s: %s", p->argv[0], strerror(why));
    p->running = true;
    return TN_OK;
}

/* Whether it has ended. */
static bool collect(tn_process *p) {
    int state;
    pid_t done = waitpid(p->pid, &state, WNOHANG);
    if (done == 0 || (done < 0 && errno == EINTR)) return false;
    p->running = false;
    if (done < 0) /* the host program reaps all children itself */
        p->exit_code = -1;
    else if (WIFEXITED(state))
        p->exit_code = WEXITSTATUS(state);
    else
        p->exit_code = 128 + (WIFSIGNALED(state) ? WTERMSIG(state) : 0);
    return true;
}

static void stop(tn_process *p) {
    kill(-p->pid, SIGKILL);
    kill(p->pid, SIGKILL);
    while (p->running) collect(p);
    p->timed_out = true;
}

static void doze(long microseconds) {
    struct timespec t = {0, microseconds * 1000};
    nanosleep(&t, NULL);
}

tn_status tn_processes_run(tn_process *p, uint32_t count, int jobs, double seconds, tn_error *err) {
    uint32_t next = 0, running = 0;
    tn_status status = TN_OK;
    double deadline = 0;
    while (running > 0 || (next < count && status == TN_OK)) {
        while (status == TN_OK && next < count && running < (uint32_t)TN_MAX(jobs, 1)) {
            status = start(&p[next++], err);
            if (status == TN_OK) running++;
            deadline = tn_seconds() + seconds;
        }
        uint32_t before = running;
        for (uint32_t i = 0; i < next; i++)
            if (p[i].running && collect(&p[i])) running--;
        if (running == 0 || running < before) continue;
        if (tn_seconds() > deadline) {
            for (uint32_t i = 0; i < next; i++)
                if (p[i].running) stop(&p[i]);
            running = 0;
            continue;
        }
        doze(300);
    }
    return status;
}

/* ---- temporary folders ---------------------------------------------------------------------- */

static bool try_folder(const char *base, char *out, size_t size) {
    struct statvfs room;
    if (!base || !*base || statvfs(base, &room) != 0) return false;
    if ((double)room.f_bavail * (double)room.f_frsize < TEMP_ROOM) return false;
    int len = snprintf(out, size, "%s/tenon-XXXXXX", base);
    return len > 0 && (size_t)len < size && mkdtemp(out) != NULL;
}

tn_status tn_temp_folder(char *out, size_t size, const char *last, tn_error *err) {
    const char *const bases[] = {getenv("TMPDIR"), "/tmp", "/dev/shm", last};
    for (size_t i = 0; i < TN_COUNT(bases); i++)
        if (try_folder(bases[i], out, size)) return TN_OK;
    return tn_error_set(err, TN_IO,
                        "no temporary folder with %d MiB of room (tried TMPDIR, /tmp, /dev/shm); "
                        "setting TMPDIR helps",
                        TEMP_ROOM >> 20);
}

void tn_temp_folder_remove(const char *folder) {
    DIR *dir = opendir(folder);
    if (dir) {
        for (struct dirent *d; (d = readdir(dir));)
            if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
                (void)unlinkat(dirfd(dir), d->d_name, 0);
        closedir(dir);
    }
    (void)rmdir(folder);
}
