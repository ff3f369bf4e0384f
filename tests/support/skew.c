/* skew: a process whose wall clock is off by as many milliseconds as the file SKEW_FILE says, which others may write at any moment.
   Its monotonic clock is left alone. Used by tests/support/skew.py, as a library that is loaded before the C library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *offset_ms;
static int (*real_clock)(clockid_t, struct timespec *);

static void __attribute__((constructor)) begin(void) {
    real_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("SKEW_FILE");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *at = mmap(NULL, sizeof *offset_ms, PROT_READ, MAP_SHARED, file, 0);
    if (at != MAP_FAILED) offset_ms = at;
    close(file);
}

int clock_gettime(clockid_t which, struct timespec *at) {
    if (!real_clock) begin(); /* asked by another library's beginning */
    int done = real_clock(which, at);
    if (done == 0 && offset_ms && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) {
        long long ns = at->tv_nsec + (*offset_ms % 1000) * 1000000LL;
        at->tv_sec += *offset_ms / 1000 + (ns >= 1000000000LL) - (ns < 0);
        at->tv_nsec = (ns + 1000000000LL) % 1000000000LL;
    }
    return done;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
