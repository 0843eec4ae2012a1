/* bench_serve.c - many chats at once with a server, and how long each waits for its words.
 *
 *   bench_serve PORT CHATS BODIES
 *
 * BODIES has the JSON of one streamed chat request per line.  CHATS of them are under way at any
 * time, on 127.0.0.1, each over a connection of its own.  Prints one JSON object: tokens are those
 * that the server counts (usage), or else events with text; a wait for the first token goes from
 * connecting to the first text, a pause from one event with text to the next of the same answer.
 * Its own processor time is told, because it competes with the server. */
#define _GNU_SOURCE /* memmem, getline */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { LINE_BYTES = 1 << 16, MAX_CHATS = 1024, PIECE_BYTES = 1 << 16, REQUEST_BYTES = 1 << 16 };

typedef struct {
    double *values; /* milliseconds */
    size_t n, cap;
} samples;

typedef struct {
    int fd;
    int64_t begin_ns, last_ns; /* last_ns: of the last text, 0 before the first */
    char line[LINE_BYTES];     /* what came behind the last line end */
    size_t n_line;
    int64_t n_texts, n_counted; /* n_counted: by the server, -1: not told */
    bool is_ok, is_complete;
} chat;

typedef struct {
    int port, epoll;
    char **bodies;
    size_t n_bodies, n_begun;
    int n_open;
    samples firsts, pauses;
    int64_t n_tokens;
    chat *chats;
} load;

static bool fail(const char *what, const char *why) {
    fprintf(stderr, "bench_serve: %s: %s\n", what, why);
    return false;
}

static bool add(samples *s, int64_t ns) {
    if (s->n == s->cap) {
        s->cap = s->cap > 0 ? 2 * s->cap : 4096;
        double *more = realloc(s->values, s->cap * sizeof *more);
        if (more == NULL) return fail("samples", "no memory");
        s->values = more;
    }
    s->values[s->n++] = (double)ns * 1e-6;
    return true;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(samples *s, double share) {
    if (s->n == 0) return 0;
    qsort(s->values, s->n, sizeof *s->values, compare);
    return s->values[(size_t)(share * (double)(s->n - 1) + 0.5)];
}

/* ---- one chat ---- */

static bool send_request(const chat *c, const char *body) {
    static char request[REQUEST_BYTES];
    const int n = snprintf(request, sizeof request,
                           "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                           "Content-Type: application/json\r\nConnection: close\r\n"
                           "Content-Length: %zu\r\n\r\n%s",
                           strlen(body), body);
    if (n < 0 || (size_t)n >= sizeof request) return fail("request", "too long");
    return send(c->fd, request, (size_t)n, MSG_NOSIGNAL) == n || fail("send", strerror(errno));
}

static bool begin(load *l, chat *c) {
    const struct sockaddr_in address = { .sin_family = AF_INET,
                                         .sin_port = htons((uint16_t)l->port),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const int one = 1;
    *c = (chat){ .begin_ns = r2i_clock_ns(), .n_counted = -1 };
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return fail("connect", strerror(errno));
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!send_request(c, l->bodies[l->n_begun++])) return false;
    struct epoll_event wanted = { .events = EPOLLIN, .data.ptr = c };
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &wanted) != 0)
        return fail("epoll_ctl", strerror(errno));
    l->n_open++;
    return true;
}

/* "content": "x, of the answer or of thoughts before it, with a text that is not empty. */
static bool has_text(const char *line) {
    for (const char *at = line; (at = strstr(at, "content\":")) != NULL;) {
        at += strlen("content\":");
        at += *at == ' ';
        if (at[0] == '"' && at[1] != '"') return true;
    }
    return false;
}

static bool take_line(load *l, chat *c, int64_t now_ns) {
    const char *counted;
    c->line[c->n_line] = '\0';
    c->n_line = 0;
    if (strncmp(c->line, "HTTP/1.1 ", 9) == 0) {
        c->is_ok = strncmp(c->line + 9, "200", 3) == 0;
        return c->is_ok || fail("server", c->line);
    }
    if (strncmp(c->line, "data: ", 6) != 0) return true;
    if (strstr(c->line, "\"error\":") != NULL) return fail("server", c->line);
    if (strncmp(c->line + 6, "[DONE]", 6) == 0) c->is_complete = true;
    counted = strstr(c->line, "\"completion_tokens\":");
    if (counted != NULL)
        c->n_counted = strtol(counted + strlen("\"completion_tokens\":"), NULL, 10);
    if (!has_text(c->line)) return true;
    const bool is_first = c->n_texts++ == 0;
    const int64_t since_ns = now_ns - (is_first ? c->begin_ns : c->last_ns);
    c->last_ns = now_ns;
    return add(is_first ? &l->firsts : &l->pauses, since_ns);
}

static bool finish(load *l, chat *c) {
    (void)close(c->fd);
    l->n_open--;
    if (!c->is_complete) return fail("server", "an answer ended before its end");
    l->n_tokens += c->n_counted >= 0 ? c->n_counted : c->n_texts;
    return l->n_begun == l->n_bodies || begin(l, c);
}

static bool take_bytes(load *l, chat *c) {
    static char piece[PIECE_BYTES];
    const ssize_t n = recv(c->fd, piece, sizeof piece, 0);
    const int64_t now_ns = r2i_clock_ns();
    if (n < 0) return fail("recv", strerror(errno));
    if (n == 0) return finish(l, c);
    for (const char *at = piece, *end = piece + n; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const size_t n_here = (size_t)((stop != NULL ? stop : end) - at);
        if (c->n_line + n_here >= sizeof c->line) return fail("server", "a line is too long");
        memcpy(c->line + c->n_line, at, n_here);
        c->n_line += n_here;
        if (stop != NULL && !take_line(l, c, now_ns)) return false;
        at += n_here + (stop != NULL);
    }
    return true;
}

/* ---- all of them ---- */

static bool run(load *l, int n_chats) {
    struct epoll_event events[64];
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < n_chats && l->n_begun < l->n_bodies; i++) {
        if (!begin(l, &l->chats[i])) return false;
    }
    while (l->n_open > 0) {
        const int n = epoll_wait(l->epoll, events, sizeof events / sizeof *events, 600000);
        if (n <= 0) return fail("server", "nothing came for ten minutes");
        for (int i = 0; i < n; i++) {
            if (!take_bytes(l, events[i].data.ptr)) return false;
        }
    }
    return true;
}

static bool read_bodies(load *l, const char *path) {
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0, n_lines = 0;
    if (file == NULL) return fail(path, strerror(errno));
    for (ssize_t n; (n = getline(&line, &cap, file)) > 0;) {
        if (line[n - 1] == '\n') line[n - 1] = '\0';
        char **more = realloc(l->bodies, (n_lines + 1) * sizeof *more);
        if (more == NULL) return fail(path, "no memory");
        l->bodies = more;
        l->bodies[n_lines++] = line;
        line = NULL;
        cap = 0;
    }
    free(line);
    fclose(file);
    l->n_bodies = n_lines;
    return n_lines > 0 || fail(path, "no requests");
}

static double processor_seconds(void) {
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

int main(int argc, char **argv) {
    const int port = argc == 4 ? atoi(argv[1]) : 0, n_chats = argc == 4 ? atoi(argv[2]) : 0;
    if (port < 1 || port > 65535 || n_chats < 1 || n_chats > MAX_CHATS) {
        fprintf(stderr, "usage: bench_serve PORT CHATS BODIES\n");
        return 2;
    }
    load l = { .port = port, .chats = calloc((size_t)n_chats, sizeof *l.chats) };
    if (l.chats == NULL || !read_bodies(&l, argv[3])) return 1;
    const double cpu_begin = processor_seconds();
    const int64_t begin_ns = r2i_clock_ns();
    if (!run(&l, n_chats)) return 1;
    const double seconds = (double)(r2i_clock_ns() - begin_ns) * 1e-9;
    printf("{\"requests\": %zu, \"tokens\": %lld, \"seconds\": %.3f, \"tok_s\": %.2f, ", l.n_bodies,
           (long long)l.n_tokens, seconds, (double)l.n_tokens / seconds);
    printf("\"first_p50_ms\": %.2f, \"first_p95_ms\": %.2f, ", quantile(&l.firsts, 0.5),
           quantile(&l.firsts, 0.95));
    printf("\"pause_p50_ms\": %.2f, \"pause_p95_ms\": %.2f, ", quantile(&l.pauses, 0.5),
           quantile(&l.pauses, 0.95));
    printf("\"client_cpu\": %.4f}\n", (processor_seconds() - cpu_begin) / seconds);
    return 0;
}
