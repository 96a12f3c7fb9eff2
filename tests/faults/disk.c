/*
 * A disk that fails when it is told to: loaded in front of the C library (LD_PRELOAD), it lets a call of the system's
 * fail, or kills the process at it. No rights are needed, and no other process notices.
 *
 * DISK_PLAN names a file that is shared with whoever tests: `struct plan`, as tests/faults/disk.py writes it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, CHANGE = 4 };

struct plan {
    int error; /* the errno; -1 is SIGKILL, 0 is nothing */
    int calls; /* which kinds */
    int first; /* from this call on */
    int last;  /* to this one */
    int seen;  /* so many calls of these kinds have been */
    char under[1024]; /* of files whose path begins so */
};

static struct plan *plan;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("DISK_PLAN");
    int file = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *found = mmap(NULL, sizeof(struct plan), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (found != MAP_FAILED) plan = found;
}

static int fails(int kind, const char *path) {
    if (!plan || !plan->error || !(plan->calls & kind)) return 0;
    if (!path || strncmp(path, plan->under, strlen(plan->under))) return 0;
    int number = __atomic_add_fetch(&plan->seen, 1, __ATOMIC_SEQ_CST);
    if (number < plan->first || number > plan->last) return 0;
    if (plan->error < 0) kill(getpid(), SIGKILL);
    errno = plan->error;
    return 1;
}

static int fails_at(int kind, int file) {
    char link[64], path[1024];
    if (!plan || !plan->error || !(plan->calls & kind)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return fails(kind, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *data, size_t size) {
    return fails_at(WRITE, file) ? -1 : REAL(write)(file, data, size);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    return fails_at(WRITE, file) ? -1 : REAL(pwrite)(file, data, size, at);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    return fails_at(WRITE, file) ? -1 : REAL(pwrite64)(file, data, size, at);
}

int fsync(int file) { return fails_at(SYNC, file) ? -1 : REAL(fsync)(file); }

int fdatasync(int file) { return fails_at(SYNC, file) ? -1 : REAL(fdatasync)(file); }

int ftruncate(int file, off_t size) { return fails_at(CHANGE, file) ? -1 : REAL(ftruncate)(file, size); }

int ftruncate64(int file, off64_t size) { return fails_at(CHANGE, file) ? -1 : REAL(ftruncate64)(file, size); }

int unlink(const char *path) { return fails(CHANGE, path) ? -1 : REAL(unlink)(path); }

int rename(const char *from, const char *to) { return fails(CHANGE, to) ? -1 : REAL(rename)(from, to); }

int mkdir(const char *path, mode_t mode) { return fails(CHANGE, path) ? -1 : REAL(mkdir)(path, mode); }

#define OPENS(name)                                                                       \
    int name(const char *path, int how, ...) {                                            \
        mode_t mode = 0;                                                                  \
        if (how & O_CREAT) {                                                              \
            va_list more;                                                                 \
            va_start(more, how);                                                          \
            mode = va_arg(more, mode_t);                                                  \
            va_end(more);                                                                 \
        }                                                                                 \
        if ((how & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) && fails(CHANGE, path)) return -1; \
        return REAL(name)(path, how, mode);                                               \
    }

OPENS(open)
OPENS(open64)
