#define _GNU_SOURCE /* O_CLOEXEC, fopen with e */
#include "sandbox/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 128, FILE_BYTES = 4096 };

/* Text of a small file of /proc; false: it is gone. */
static bool read_file(const char *path, char text[FILE_BYTES]) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const ssize_t n = read(fd, text, FILE_BYTES - 1);
    (void)close(fd);
    if (n < 0) return false;
    text[n] = '\0';
    return true;
}

/* Field `index` (from 3 on) of /proc/PID/stat: they stand behind the name, which may hold anything. */
static int64_t stat_field(const char *text, int index) {
    const char *at = strrchr(text, ')');
    for (int i = 2; at != NULL && i < index; i++)
        at = strchr(at + 1, ' ');
    return at != NULL ? strtoll(at + 1, NULL, 10) : 0;
}

/* group 0: of any. */
static void add_process(r2i_process_tree *out, pid_t pid, pid_t group) {
    enum { GROUP = 5 };
    char path[64], text[FILE_BYTES];
    const int64_t page = sysconf(_SC_PAGESIZE);
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!read_file(path, text) || (group != 0 && stat_field(text, GROUP) != group)) return;
    int64_t ticks = 0;
    for (int i = 14; i <= 17; i++) /* utime, stime, cutime, cstime */
        ticks += stat_field(text, i);
    out->cpu_seconds += (double)ticks / (double)sysconf(_SC_CLK_TCK);
    out->n_tasks += (int32_t)stat_field(text, 20);
    (void)snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    if (!read_file(path, text)) return;
    char *at = text;
    (void)strtoll(at, &at, 10);
    const int64_t resident = strtoll(at, &at, 10);
    out->memory_bytes += (resident - strtoll(at, &at, 10)) * page;
}

static void add_below(r2i_process_tree *out, pid_t pid, int depth, int32_t max_tasks);

/* Children of one thread: process numbers in one line, which may be long. */
static void add_children(r2i_process_tree *out, const char *path, int depth, int32_t max_tasks) {
    FILE *file = fopen(path, "re");
    int pid = 0;
    if (file == NULL) return;
    while (out->n_tasks <= max_tasks && fscanf(file, "%d", &pid) == 1)
        add_below(out, (pid_t)pid, depth + 1, max_tasks);
    (void)fclose(file);
}

static void add_below(r2i_process_tree *out, pid_t pid, int depth, int32_t max_tasks) {
    char path[320];
    const struct dirent *entry;
    add_process(out, pid, 0);
    if (depth >= MAX_DEPTH) out->n_tasks = max_tasks + 1; /* nobody nests so deep in good faith */
    if (out->n_tasks > max_tasks) return;
    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL) return;
    while (out->n_tasks <= max_tasks && (entry = readdir(tasks)) != NULL) {
        if (entry->d_name[0] == '.') continue;
        (void)snprintf(path, sizeof path, "/proc/%d/task/%.200s/children", (int)pid, entry->d_name);
        add_children(out, path, depth, max_tasks);
    }
    (void)closedir(tasks);
}

void r2i_process_tree_measure(r2i_process_tree *out, pid_t root, int32_t max_tasks) {
    *out = (r2i_process_tree){ 0 };
    add_below(out, root, 0, max_tasks);
}

void r2i_process_group_measure(r2i_process_tree *out, pid_t group, int32_t max_tasks) {
    const struct dirent *entry;
    DIR *all = opendir("/proc");
    *out = (r2i_process_tree){ 0 };
    if (all == NULL) return;
    while (out->n_tasks <= max_tasks && (entry = readdir(all)) != NULL) {
        const long pid = strtol(entry->d_name, NULL, 10);
        if (pid > 0) add_process(out, (pid_t)pid, group);
    }
    (void)closedir(all);
}

int32_t r2i_user_tasks(void) {
    const struct dirent *entry;
    struct stat about;
    char path[64];
    r2i_process_tree tree = { 0 };
    DIR *all = opendir("/proc");
    if (all == NULL) return 0;
    while ((entry = readdir(all)) != NULL) {
        const long pid = strtol(entry->d_name, NULL, 10);
        (void)snprintf(path, sizeof path, "/proc/%ld", pid);
        if (pid > 0 && stat(path, &about) == 0 && about.st_uid == getuid())
            add_process(&tree, (pid_t)pid, 0);
    }
    (void)closedir(all);
    return tree.n_tasks;
}
