/* A disk and a clock that fail on demand, between a program and the C library; see faulty_system.py.

   Built as a shared library and preloaded. PLAIT_FAULTS_FILES is a part of the names of the files that are watched,
   PLAIT_FAULTS_CONTROL a file that holds `struct control` and may be changed while the program runs, and
   PLAIT_FAULTS_JOURNAL the file that every change of a watched file is written to. That journal outlives a kill, and
   says what a disk would hold after a power cut. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* How often something goes well before it goes wrong, how often it goes wrong then (-1: always), and how. */
struct fault {
    int64_t before, times, error;
};

struct control {
    int64_t clock_offset_s;
    struct fault write, sync;
    int64_t short_every; /* every so manieth write takes half of what it is given; 0: none */
    int64_t sync_lies;   /* syncs say that they are done, and are not */
    int64_t injected;    /* faults so far: written by the program */
    int64_t short_writes, lies;
};

enum kind { WRITE, SYNC, FAILED_SYNC, TRUNCATE, UNLINK };

struct entry {
    int64_t kind, offset, length, name_length; /* the name follows, then what a WRITE wrote */
};

static struct control *control;
static int journal = -1;
static const char *watched;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int64_t writes;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_unlink)(const char *);
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_gettimeofday)(struct timeval *restrict, void *restrict);

__attribute__((constructor)) static void begin(void) {
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_gettimeofday = dlsym(RTLD_NEXT, "gettimeofday");
    const char *file = getenv("PLAIT_FAULTS_CONTROL"), *log = getenv("PLAIT_FAULTS_JOURNAL");
    watched = getenv("PLAIT_FAULTS_FILES");
    if (file == NULL || log == NULL || watched == NULL)
        return;
    int descriptor = open(file, O_RDWR | O_CLOEXEC);
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    journal = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0 || map == MAP_FAILED || journal < 0) {
        perror("faulty_system");
        abort();
    }
    close(descriptor);
    control = map;
}

static int is_watched(const char *path) {
    const char *name = strrchr(path, '/');
    name = name == NULL ? path : name + 1;
    return strstr(name, watched) != NULL && strstr(name, ".lock") == NULL && strstr(name, "-shm") == NULL;
}

/* Put the path of a watched file into `path`; 0 where it is none. */
static int find(int descriptor, char *path) {
    if (control == NULL)
        return 0;
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, 4095);
    if (length <= 0 || path[0] != '/')
        return 0;
    path[length] = 0;
    return is_watched(path);
}

static void put(const void *bytes, size_t length) {
    while (length > 0) {
        ssize_t done = real_write(journal, bytes, length);
        if (done <= 0)
            abort();
        bytes = (const char *)bytes + done;
        length -= done;
    }
}

static void note(enum kind kind, const char *path, int64_t offset, const void *bytes, size_t length) {
    size_t name_length = strlen(path);
    struct entry entry = {kind, offset, length, name_length};
    /* In one piece: a kill must not leave half an entry before a whole one of the next process. */
    char *whole = malloc(sizeof entry + name_length + length);
    memcpy(whole, &entry, sizeof entry);
    memcpy(whole + sizeof entry, path, name_length);
    if (bytes != NULL)
        memcpy(whole + sizeof entry + name_length, bytes, length);
    put(whole, sizeof entry + name_length + (bytes == NULL ? 0 : length));
    free(whole);
}

/* Say whether it is time for a fault, and set errno to it. */
static int fails(struct fault *fault) {
    if (fault->error == 0 || fault->times == 0)
        return 0;
    if (fault->before > 0) {
        fault->before--;
        return 0;
    }
    if (fault->times > 0)
        fault->times--;
    control->injected++;
    errno = (int)fault->error;
    return 1;
}

static ssize_t watched_write(int descriptor, const char *path, const void *bytes, size_t length, off_t offset) {
    pthread_mutex_lock(&mutex);
    ssize_t done = -1;
    if (!fails(&control->write)) {
        if (control->short_every > 0 && ++writes % control->short_every == 0 && length > 1) {
            length /= 2;
            control->short_writes++;
        }
        done = real_pwrite(descriptor, bytes, length, offset);
        int error = errno;
        if (done > 0)
            note(WRITE, path, offset, bytes, done);
        errno = error;
    }
    pthread_mutex_unlock(&mutex);
    return done;
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off_t offset) {
    char path[4096];
    if (!find(descriptor, path))
        return real_pwrite(descriptor, bytes, length, offset);
    return watched_write(descriptor, path, bytes, length, offset);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t offset) {
    return pwrite64(descriptor, bytes, length, offset);
}

ssize_t write(int descriptor, const void *bytes, size_t length) {
    char path[4096];
    if (!find(descriptor, path))
        return real_write(descriptor, bytes, length);
    off_t offset = lseek(descriptor, 0, SEEK_CUR);
    ssize_t done = watched_write(descriptor, path, bytes, length, offset);
    if (done > 0)
        lseek(descriptor, offset + done, SEEK_SET);
    return done;
}

/* A sync of a watched file reaches the journal instead of the disk: that is what a power cut is played from. */
static int watched_sync(const char *path) {
    pthread_mutex_lock(&mutex);
    int done = 0;
    if (fails(&control->sync)) {
        int error = errno;
        note(FAILED_SYNC, path, 0, NULL, 0);
        errno = error;
        done = -1;
    } else if (control->sync_lies) {
        control->lies++;
    } else {
        note(SYNC, path, 0, NULL, 0);
    }
    pthread_mutex_unlock(&mutex);
    return done;
}

int fsync(int descriptor) {
    char path[4096];
    return find(descriptor, path) ? watched_sync(path) : real_fsync(descriptor);
}

int fdatasync(int descriptor) {
    char path[4096];
    return find(descriptor, path) ? watched_sync(path) : real_fdatasync(descriptor);
}

int ftruncate64(int descriptor, off_t length) {
    char path[4096];
    if (!find(descriptor, path))
        return real_ftruncate(descriptor, length);
    pthread_mutex_lock(&mutex);
    int done = real_ftruncate(descriptor, length), error = errno;
    if (done == 0)
        note(TRUNCATE, path, length, NULL, 0);
    errno = error;
    pthread_mutex_unlock(&mutex);
    return done;
}

int ftruncate(int descriptor, off_t length) { return ftruncate64(descriptor, length); }

int unlink(const char *path) {
    if (control == NULL || !is_watched(path))
        return real_unlink(path);
    char whole[4096];
    if (realpath(path, whole) == NULL)
        return real_unlink(path);
    pthread_mutex_lock(&mutex);
    int done = real_unlink(path), error = errno;
    if (done == 0)
        note(UNLINK, whole, 0, NULL, 0);
    errno = error;
    pthread_mutex_unlock(&mutex);
    return done;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (real_clock_gettime == NULL)
        real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real_clock_gettime(clock, now);
    if (done == 0 && control != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t offset = __atomic_load_n(&control->clock_offset_s, __ATOMIC_RELAXED);
        now->tv_sec += offset;
    }
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    if (real_gettimeofday == NULL)
        real_gettimeofday = dlsym(RTLD_NEXT, "gettimeofday");
    int done = real_gettimeofday(now, zone);
    if (done == 0 && control != NULL)
        now->tv_sec += __atomic_load_n(&control->clock_offset_s, __ATOMIC_RELAXED);
    return done;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to != NULL)
        *to = now.tv_sec;
    return now.tv_sec;
}
