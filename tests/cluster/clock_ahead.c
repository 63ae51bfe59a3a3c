/* Sets the wall clock of one process CLOCK_AHEAD seconds ahead: LD_PRELOAD=clock_ahead.so CLOCK_AHEAD=7200 redis-server …
 *
 * Rejected alternative: libfaketime 0.9.10. Its start allocates memory, the allocator of Redis (jemalloc) asks for the
 * time, and the process ends. This file uses only system calls. Monotonic clocks stay correct. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t ahead(void) {
    static time_t seconds = -1;
    if (seconds < 0) {
        const char *value = getenv("CLOCK_AHEAD");
        seconds = value ? atol(value) : 0;
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    if (clock_gettime(CLOCK_REALTIME, &precise) != 0) return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return (time_t)-1;
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
