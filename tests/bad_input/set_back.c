/* The machine's clock as a file says it: seconds to add to CLOCK_REALTIME. To be preloaded; monotonic clocks stay.

   A wait until a time of this clock (librdkafka's threads wait so) ends when this clock gets there: one that is under way
   while the clock is set back lasts so much longer, as the kernel would have it. It is made of short waits of the real
   clock, between which the caller sees a spurious wake-up, which it has to expect of any condition variable. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>

#define SLICE_NS 20000000L

static long shift(void) {
    const char *path = getenv("AMENDS_CLOCK_FILE");
    FILE *file = path ? fopen(path, "r") : NULL;
    long seconds = 0;
    if (file) {
        if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
        fclose(file);
    }
    return seconds;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(which, now);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (out) *out = precise.tv_sec;
    return precise.tv_sec;
}

static int not_before(struct timespec one, struct timespec other) {
    return one.tv_sec != other.tv_sec ? one.tv_sec > other.tv_sec : one.tv_nsec >= other.tv_nsec;
}

/* How long to wait by the real clock for the deadline of ours; whether that is the deadline itself. */
static int real_deadline(const struct timespec *deadline, struct timespec *until) {
    struct timespec now, slice;
    clock_gettime(CLOCK_REALTIME, &now);
    slice = now;
    slice.tv_nsec += SLICE_NS;
    if (slice.tv_nsec >= 1000000000L) slice.tv_sec += 1, slice.tv_nsec -= 1000000000L;
    int is_last = not_before(slice, *deadline);
    *until = is_last ? *deadline : slice;
    until->tv_sec -= shift();
    return is_last;
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict deadline) {
    static int (*real)(cnd_t *, mtx_t *, const struct timespec *);
    if (!real) real = (int (*)(cnd_t *, mtx_t *, const struct timespec *))dlsym(RTLD_NEXT, "cnd_timedwait");
    struct timespec until;
    int is_last = real_deadline(deadline, &until);
    int how = real(condition, mutex, &until);
    return how == thrd_timedout && !is_last ? thrd_success : how;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict deadline) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    /* The plain name may find the version of before 2002, which has another layout. */
    if (!real) real = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))dlvsym(
        RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real) real = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))dlsym(
        RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec until;
    int is_last = real_deadline(deadline, &until);
    int how = real(condition, mutex, &until);
    return how == ETIMEDOUT && !is_last ? 0 : how;
}
