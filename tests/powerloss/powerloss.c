/* Storage that forgets: a folder behaves as if every write that was not synced is lost when the power goes.
 *
 * A killed process does not lose the page cache, so kill -9 alone proves nothing about fsync. This file is two programs:
 *
 *   cc -shared -fPIC -o powerloss.so powerloss.c    preloaded into the program under test
 *   cc -DREWIND -o rewind powerloss.c               run after it was killed: rewind FOLDER JOURNAL
 *
 * The preloaded half lets every change below $WEIR_POWERLOSS_DIR pass, and before each notes in a journal (in the folder
 * $WEIR_POWERLOSS_JOURNAL, outside the first one, on the same file system) what undoes it: old bytes and old size of a
 * file, or the old state of a directory entry. fsync and fdatasync do not reach the disk: they wait for
 * $WEIR_POWERLOSS_SYNC_US microseconds (1000) and then note that what was done to this inode until the call began is
 * stable. A directory's entries are stable when the directory is synced, as POSIX has it and no sooner, although ext4 is
 * kinder. `rewind` undoes everything that is not stable, newest first.
 *
 * Not seen: writes through mmap (of the programs we test only SQLite's -shm, which is rebuilt: rewind deletes it),
 * io_uring, and stdio inside libc. A rename between folders is stable when the folder it went to is synced.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { DATA = 1, CREATED, RENAMED, UNLINKED, REMOVED_FOLDER, SYNCED };

#define MAGIC 0x57504c31u

/* One note of the journal: this head, then path, other path, bytes, and MAGIC again, without which the note was torn. */
struct note {
    uint32_t magic;
    uint32_t kind;
    uint64_t inode;     /* DATA, SYNCED: of the file or folder; else: of the folder whose entry changed */
    uint64_t offset;    /* DATA: where the old bytes stood; SYNCED: length of the journal when the sync began */
    uint64_t size;      /* DATA: the old size of the file */
    uint64_t kept;      /* RENAMED, UNLINKED: names the link that keeps the file that was replaced or removed; 0 = none */
    uint64_t length;    /* of the old bytes */
    uint32_t path_length, other_length;
};

static void die(const char *what, const char *path) {
    fprintf(stderr, "powerloss: %s %s: %s\n", what, path, strerror(errno));
    abort();
}

#define KEPT_MAX (PATH_MAX + 32)

static void kept_path(char *out, const char *journal, uint64_t kept) {
    snprintf(out, KEPT_MAX, "%s/kept-%llu", journal, (unsigned long long)kept);
}

#ifndef REWIND

/* === the preloaded half. It makes its own calls by syscall(), so that it never meets itself. === */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char watched[PATH_MAX], journal_folder[PATH_MAX];
static size_t watched_length;
static int journal = -1;
static unsigned sync_microseconds = 1000;

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("WEIR_POWERLOSS_DIR"), *notes = getenv("WEIR_POWERLOSS_JOURNAL");
    const char *wait = getenv("WEIR_POWERLOSS_SYNC_US");
    if (!folder || !notes) return;
    if (!realpath(folder, watched)) die("cannot find", folder);
    if (!realpath(notes, journal_folder)) die("cannot find", notes);
    if (wait) sync_microseconds = (unsigned)atoi(wait);
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/journal", journal_folder);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) die("cannot open", path);
    journal = fcntl(fd, F_DUPFD_CLOEXEC, 900);
    if (journal < 0) die("cannot move", path);
    syscall(SYS_close, fd);
    watched_length = strlen(watched);
}

static uint64_t journal_length(void) {
    struct stat st;
    if (fstat(journal, &st)) die("cannot stat", "the journal");
    return (uint64_t)st.st_size;
}

static void append(struct note note, const char *path, const char *other, const void *bytes) {
    uint32_t magic = MAGIC;
    note.magic = MAGIC;
    note.path_length = path ? (uint32_t)strlen(path) : 0;
    note.other_length = other ? (uint32_t)strlen(other) : 0;
    struct iovec parts[] = {
        {&note, sizeof note}, {(void *)path, note.path_length}, {(void *)other, note.other_length},
        {(void *)bytes, note.length}, {&magic, sizeof magic},
    };
    size_t total = 0;
    for (size_t i = 0; i < 5; i++) total += parts[i].iov_len;
    if (syscall(SYS_writev, journal, parts, 5) != (long)total) die("cannot write", "the journal");
}

static int is_watched(const char *path) {
    return journal >= 0 && !strncmp(path, watched, watched_length)
        && (path[watched_length] == '/' || path[watched_length] == 0 || path[watched_length] == ' ');
}

/* Whether `path`, relative to folder `at`, is below the watched folder; `full` is it in full. */
static int watched_path(int at, const char *path, char *full) {
    if (journal < 0 || !path) return 0;
    if (path[0] == '/') {
        snprintf(full, PATH_MAX, "%s", path);
    } else {
        char base[PATH_MAX / 2], link[64];
        snprintf(link, sizeof link, at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
        long length = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
        if (length < 0) return 0;
        base[length] = 0;
        snprintf(full, PATH_MAX, "%s/%.*s", base, PATH_MAX / 2 - 2, path);
    }
    return is_watched(full);
}

/* Whether `fd` is a file or folder below the watched folder. */
static int watched_fd(int fd, struct stat *st) {
    if (journal < 0 || fd == journal || fstat(fd, st) || !(S_ISREG(st->st_mode) || S_ISDIR(st->st_mode))) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_watched(path);
}

static uint64_t parent_inode(const char *path) {
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    struct stat st;
    if (!slash) return 0;
    *slash = 0;
    return stat(parent, &st) ? 0 : st.st_ino;
}

/* An entry is about to be made. Where there is no folder it will not be, and a later attempt is noted by itself. */
static void note_created(const char *path) {
    uint64_t parent = parent_inode(path);
    if (parent) append((struct note){.kind = CREATED, .inode = parent}, path, NULL, NULL);
}

/* Notes what undoes a change to bytes [offset, offset + length) of a file whose state is `st`. */
static void note_bytes(const char *readable, const struct stat *st, uint64_t offset, uint64_t length) {
    uint64_t size = (uint64_t)st->st_size, end = offset + length < size ? offset + length : size;
    struct note note = {.kind = DATA, .inode = st->st_ino, .offset = offset, .size = size};
    char *old = NULL;
    if (offset < end) {
        note.length = end - offset;
        old = malloc(note.length);
        /* The program's own descriptor may be for writing only. */
        int fd = (int)syscall(SYS_openat, AT_FDCWD, readable, O_RDONLY | O_CLOEXEC);
        if (!old || fd < 0) die("cannot read old bytes of", readable);
        for (uint64_t got = 0; got < note.length;) {
            long n = syscall(SYS_pread64, fd, old + got, note.length - got, offset + got);
            if (n <= 0) die("cannot read old bytes of", readable);
            got += (uint64_t)n;
        }
        syscall(SYS_close, fd);
    }
    append(note, NULL, NULL, old);
    free(old);
}

static void note_fd_bytes(int fd, const struct stat *st, uint64_t offset, uint64_t length) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    note_bytes(link, st, offset, length);
}

static void note_synced(uint64_t inode, uint64_t until) {
    append((struct note){.kind = SYNCED, .inode = inode, .offset = until}, NULL, NULL, NULL);
}

/* Links `path` where it survives its removal. */
static uint64_t keep(const char *path) {
    char kept[KEPT_MAX];
    struct stat st;
    uint64_t name = journal_length() + 1;
    if (lstat(path, &st) || !S_ISREG(st.st_mode)) return 0;
    kept_path(kept, journal_folder, name);
    if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, kept, 0)) die("cannot keep", path);
    return name;
}

/* Does `call` after noting how to undo a write of `length` bytes at `at`, or at the descriptor's position if `at` < 0. */
#define NOTED_WRITE(fd, at, amount, call)                                                                              \
    do {                                                                                                               \
        struct stat st;                                                                                                \
        if (!watched_fd(fd, &st)) return call;                                                                         \
        pthread_mutex_lock(&lock);                                                                                     \
        long flags = syscall(SYS_fcntl, fd, F_GETFL);                                                                  \
        fstat(fd, &st);                                                                                                \
        int64_t place = (flags & O_APPEND) ? st.st_size : (at) >= 0 ? (at) : syscall(SYS_lseek, fd, 0, SEEK_CUR);      \
        note_fd_bytes(fd, &st, (uint64_t)place, (uint64_t)(amount));                                                   \
        long result = call;                                                                                            \
        int error = errno;                                                                                             \
        if (flags & O_DSYNC) note_synced(st.st_ino, journal_length());                                                 \
        pthread_mutex_unlock(&lock);                                                                                   \
        errno = error;                                                                                                 \
        return result;                                                                                                 \
    } while (0)

static size_t total(const struct iovec *parts, int count) {
    size_t sum = 0;
    for (int i = 0; i < count; i++) sum += parts[i].iov_len;
    return sum;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    NOTED_WRITE(fd, (int64_t)-1, length, syscall(SYS_write, fd, bytes, length));
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    NOTED_WRITE(fd, at, length, syscall(SYS_pwrite64, fd, bytes, length, at));
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    return pwrite64(fd, bytes, length, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    NOTED_WRITE(fd, (int64_t)-1, total(parts, count), syscall(SYS_writev, fd, parts, count));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    NOTED_WRITE(fd, at, total(parts, count), syscall(SYS_pwritev, fd, parts, count, at, 0));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    return pwritev64(fd, parts, count, at);
}

/* Callers fall back to read and write when these two say no. */
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length, unsigned flags) {
    struct stat st;
    if (watched_fd(to, &st)) return errno = ENOSYS, -1;
    return syscall(SYS_copy_file_range, from, from_at, to, to_at, length, flags);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t length) {
    struct stat st;
    if (watched_fd(to, &st)) return errno = EINVAL, -1;
    return syscall(SYS_sendfile, to, from, at, length);
}

ssize_t sendfile(int to, int from, off_t *at, size_t length) {
    return sendfile64(to, from, at, length);
}

int ftruncate64(int fd, off64_t size) {
    struct stat st;
    if (!watched_fd(fd, &st)) return (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    fstat(fd, &st);
    note_fd_bytes(fd, &st, (uint64_t)size, UINT64_MAX / 2);
    int result = (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t size) {
    return ftruncate64(fd, size);
}

int fallocate64(int fd, int mode, off64_t at, off64_t length) {
    struct stat st;
    if (!watched_fd(fd, &st)) return (int)syscall(SYS_fallocate, fd, mode, at, length);
    /* Only growth is modelled: old bytes stay, so an undo is the old size. */
    if (mode & ~FALLOC_FL_KEEP_SIZE) return errno = EOPNOTSUPP, -1;
    pthread_mutex_lock(&lock);
    fstat(fd, &st);
    note_fd_bytes(fd, &st, (uint64_t)st.st_size, 0);
    int result = (int)syscall(SYS_fallocate, fd, mode, at, length);
    pthread_mutex_unlock(&lock);
    return result;
}

int fallocate(int fd, int mode, off_t at, off_t length) {
    return fallocate64(fd, mode, at, length);
}

int posix_fallocate64(int fd, off64_t at, off64_t length) {
    return fallocate64(fd, 0, at, length) ? errno : 0;
}

int posix_fallocate(int fd, off_t at, off_t length) {
    return posix_fallocate64(fd, at, length);
}

static int open_noted(int at, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    if (!(flags & (O_CREAT | O_TRUNC)) || !watched_path(at, path, full))
        return (int)syscall(SYS_openat, at, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat st;
    int exists = !stat(full, &st);
    if (!exists && (flags & O_CREAT)) {
        note_created(full);
    } else if (exists && (flags & O_TRUNC) && S_ISREG(st.st_mode)) {
        note_bytes(full, &st, 0, UINT64_MAX / 2);
    }
    int fd = (int)syscall(SYS_openat, at, path, flags, mode);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags, mode)                                                                                              \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                             \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = (mode_t)va_arg(rest, int);                                                                              \
        va_end(rest);                                                                                                  \
    }

int open(const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_noted(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_noted(AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_noted(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) {
    MODE(flags, mode)
    return open_noted(at, path, flags, mode);
}

int creat64(const char *path, mode_t mode) {
    return open_noted(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat(const char *path, mode_t mode) {
    return creat64(path, mode);
}

int mkdirat(int at, const char *path, mode_t mode) {
    char full[PATH_MAX];
    if (!watched_path(at, path, full)) return (int)syscall(SYS_mkdirat, at, path, mode);
    pthread_mutex_lock(&lock);
    struct stat st;
    if (lstat(full, &st)) note_created(full);
    int result = (int)syscall(SYS_mkdirat, at, path, mode);
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode) {
    return mkdirat(AT_FDCWD, path, mode);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    char full[PATH_MAX];
    if (!watched_path(to_at, to, full)) return (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
    pthread_mutex_lock(&lock);
    struct stat st;
    if (lstat(full, &st)) note_created(full);
    int result = (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
    pthread_mutex_unlock(&lock);
    return result;
}

int link(const char *from, const char *to) {
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    char old[PATH_MAX], new[PATH_MAX];
    if (!watched_path(from_at, from, old) || !watched_path(to_at, to, new))
        return (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    struct stat st;
    if (lstat(old, &st)) return errno = ENOENT, -1;
    pthread_mutex_lock(&lock);
    uint64_t kept = keep(new);
    append((struct note){.kind = RENAMED, .inode = parent_inode(new), .kept = kept}, old, new, NULL);
    int result = (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (result) die("cannot rename", old);
    pthread_mutex_unlock(&lock);
    return result;
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
    return renameat2(from_at, from, to_at, to, 0);
}

int rename(const char *from, const char *to) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int at, const char *path, int flags) {
    char full[PATH_MAX];
    struct stat st;
    if (!watched_path(at, path, full) || lstat(full, &st)) return (int)syscall(SYS_unlinkat, at, path, flags);
    pthread_mutex_lock(&lock);
    struct note note = {.kind = UNLINKED, .inode = parent_inode(full)};
    if (flags & AT_REMOVEDIR) note.kind = REMOVED_FOLDER;
    else note.kept = keep(full);
    append(note, full, NULL, NULL);
    int result = (int)syscall(SYS_unlinkat, at, path, flags);
    if (result) die("cannot remove", full);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) {
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path) {
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int remove(const char *path) {
    struct stat st;
    return unlinkat(AT_FDCWD, path, !lstat(path, &st) && S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
}

static int sync_noted(int fd, long number) {
    struct stat st;
    if (!watched_fd(fd, &st)) return (int)syscall(number, fd);
    pthread_mutex_lock(&lock);
    uint64_t until = journal_length();
    pthread_mutex_unlock(&lock);
    usleep(sync_microseconds);
    pthread_mutex_lock(&lock);
    note_synced(st.st_ino, until);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd) {
    return sync_noted(fd, SYS_fsync);
}

int fdatasync(int fd) {
    return sync_noted(fd, SYS_fdatasync);
}

#else

/* === rewind === */

struct place {
    struct note note;
    uint64_t at;
    const char *path, *other, *bytes;
};

struct file {
    uint64_t inode, synced_until;
    int fd;
};

static struct place *places;
static struct file *files;
static size_t place_count, file_count;

static struct file *file_of(uint64_t inode) {
    for (size_t i = 0; i < file_count; i++)
        if (files[i].inode == inode) return &files[i];
    files = realloc(files, (file_count + 1) * sizeof *files);
    files[file_count] = (struct file){.inode = inode, .fd = -1};
    return &files[file_count++];
}

/* A copy with a NUL at its end. */
static const char *text(const char *from, size_t length) {
    return strndup(from, length);
}

static void read_journal(const char *bytes, uint64_t length) {
    for (uint64_t at = 0; at + sizeof(struct note) <= length;) {
        struct place place = {.at = at};
        memcpy(&place.note, bytes + at, sizeof place.note);
        struct note *note = &place.note;
        uint64_t body = (uint64_t)note->path_length + note->other_length + note->length, magic = 0;
        /* The process was killed while it wrote this note, so the change itself was never made. */
        if (note->magic != MAGIC || at + sizeof *note + body + 4 > length) return;
        const char *rest = bytes + at + sizeof *note;
        memcpy(&magic, rest + body, 4);
        if (magic != MAGIC) return;
        place.path = text(rest, note->path_length);
        place.other = text(rest + note->path_length, note->other_length);
        place.bytes = rest + note->path_length + note->other_length;
        struct file *file = file_of(note->inode);
        if (note->kind == SYNCED && note->offset > file->synced_until) file->synced_until = note->offset;
        places = realloc(places, (place_count + 1) * sizeof *places);
        places[place_count++] = place;
        at += sizeof *note + body + 4;
    }
}

/* Calls `each` for every path below `folder`, folders after what they hold. */
static void walk(const char *folder, void (*each)(const char *path, const struct stat *st)) {
    DIR *open_folder = opendir(folder);
    if (!open_folder) die("cannot read", folder);
    for (struct dirent *entry; (entry = readdir(open_folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char path[PATH_MAX];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (lstat(path, &st)) continue;
        if (S_ISDIR(st.st_mode)) walk(path, each);
        each(path, &st);
    }
    closedir(open_folder);
}

/* Descriptors stay with their inodes, whatever names these get while entries are undone. */
static void open_file(const char *path, const struct stat *st) {
    struct file *file = file_of(st->st_ino);
    if (S_ISREG(st->st_mode) && file->fd < 0) file->fd = open(path, O_RDWR);
}

static void remove_path(const char *path, const struct stat *st) {
    if (S_ISDIR(st->st_mode) ? rmdir(path) : unlink(path)) die("cannot remove", path);
}

static void remove_shared_memory(const char *path, const struct stat *st) {
    size_t length = strlen(path);
    if (length > 4 && !strcmp(path + length - 4, "-shm")) remove_path(path, st);
}

static void undo(const struct place *place, const char *journal) {
    const struct note *note = &place->note;
    char kept[KEPT_MAX];
    struct stat st;
    kept_path(kept, journal, note->kept);
    switch (note->kind) {
    case DATA: {
        int fd = file_of(note->inode)->fd;
        /* The file may be gone for good: created and removed without a sync of either. */
        if (fd < 0) break;
        if (note->length && pwrite(fd, place->bytes, note->length, (off_t)note->offset) != (ssize_t)note->length)
            die("cannot restore bytes of", "a file");
        if (ftruncate(fd, (off_t)note->size)) die("cannot restore the size of", "a file");
        break;
    }
    case CREATED:
        if (lstat(place->path, &st)) break;
        if (S_ISDIR(st.st_mode)) walk(place->path, remove_path);
        remove_path(place->path, &st);
        break;
    case RENAMED:
        /* If the process was killed before the rename, the old name is still there. */
        if (!lstat(place->path, &st)) break;
        if (rename(place->other, place->path)) die("cannot rename back", place->other);
        if (note->kept && rename(kept, place->other)) die("cannot restore", place->other);
        break;
    case UNLINKED:
        if (note->kept && rename(kept, place->path)) die("cannot restore", place->path);
        break;
    case REMOVED_FOLDER:
        if (mkdir(place->path, 0700) && errno != EEXIST) die("cannot restore", place->path);
        break;
    }
}

int main(int count, char **arguments) {
    if (count != 3) return fprintf(stderr, "usage: rewind FOLDER JOURNAL\n"), 2;
    char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s/journal", arguments[2]);
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &st)) die("cannot open", path);
    char *bytes = malloc((size_t)st.st_size + 1);
    for (off_t got = 0; got < st.st_size;) {
        ssize_t n = read(fd, bytes + got, (size_t)(st.st_size - got));
        if (n <= 0) die("cannot read", path);
        got += n;
    }
    read_journal(bytes, (uint64_t)st.st_size);
    walk(arguments[1], open_file);
    walk(arguments[2], open_file);

    size_t changes = 0, undone = 0;
    for (size_t i = place_count; i-- > 0;) {
        if (places[i].note.kind == SYNCED) continue;
        changes++;
        if (places[i].at < file_of(places[i].note.inode)->synced_until) continue;
        undo(&places[i], arguments[2]);
        undone++;
    }
    walk(arguments[1], remove_shared_memory);
    walk(arguments[2], remove_path);
    printf("undone %zu of %zu changes\n", undone, changes);
    return 0;
}

#endif
