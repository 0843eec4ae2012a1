#include "server/wire.h"

#include <string.h>

void r2i_wire_init(r2i_wire *w, r2i_heap *heap, const r2i_wire_limits *limits) {
    *w = (r2i_wire){ .limits = *limits, .state = R2I_WIRE_AT_HEAD };
    r2i_buffer_init(&w->bytes, heap, limits->head_bytes + 4);
}

void r2i_wire_destroy(r2i_wire *w) {
    r2i_buffer_destroy(&w->bytes);
}

bool r2i_wire_is_between(const r2i_wire *w) {
    return w->state == R2I_WIRE_AT_HEAD && (w->bytes.n_bytes == 0 || w->is_past);
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool r2i_span_is(r2i_span span, const char *text) {
    if (span.text == NULL || strlen(text) != span.n_bytes) return false;
    for (size_t i = 0; i < span.n_bytes; i++) {
        if (lower(span.text[i]) != lower(text[i])) return false;
    }
    return true;
}

static bool refuse(r2i_wire *w, int http, const char *text) {
    w->state = R2I_WIRE_REFUSED;
    w->http = http;
    w->text = text;
    return false;
}

/* Letters of names (RFC 9110, token). */
static bool is_name_byte(char c) {
    return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_name(r2i_span span) {
    for (size_t i = 0; i < span.n_bytes; i++) {
        if (!is_name_byte(span.text[i])) return false;
    }
    return span.n_bytes > 0;
}

/* ---- the head ---- */

static bool read_request_line(r2i_wire *w, r2i_span line) {
    r2i_wire_head *h = &w->head;
    const char *end = line.text + line.n_bytes;
    const char *first = memchr(line.text, ' ', line.n_bytes);
    if (first == NULL) return refuse(w, 400, "request line: expected METHOD TARGET VERSION");
    const char *second = memchr(first + 1, ' ', (size_t)(end - first - 1));
    if (second == NULL) return refuse(w, 400, "request line: expected METHOD TARGET VERSION");
    h->method = (r2i_span){ line.text, (size_t)(first - line.text) };
    h->target = (r2i_span){ first + 1, (size_t)(second - first - 1) };
    const r2i_span version = { second + 1, (size_t)(end - second - 1) };
    if (!is_name(h->method)) return refuse(w, 400, "request line: the method is no word");
    if (h->target.n_bytes == 0 || h->target.text[0] != '/')
        return refuse(w, 400, "request line: expected a path that begins with /");
    for (size_t i = 0; i < h->target.n_bytes; i++) {
        const unsigned char c = (unsigned char)h->target.text[i];
        if (c <= ' ' || c >= 0x7f || c == '#')
            return refuse(w, 400, "request line: bytes that must be escaped");
    }
    if (h->target.n_bytes > 1 && h->target.text[1] == '/')
        return refuse(w, 400, "request line: a path that begins with //");
    h->is_http_1_0 = version.n_bytes == 8 && memcmp(version.text, "HTTP/1.0", 8) == 0;
    if (h->is_http_1_0 || (version.n_bytes == 8 && memcmp(version.text, "HTTP/1.1", 8) == 0))
        return true;
    if (version.n_bytes == 8 && memcmp(version.text, "HTTP/", 5) == 0)
        return refuse(w, 505, "request line: expected HTTP/1.0 or HTTP/1.1");
    return refuse(w, 400, "request line: expected HTTP/1.1 at its end");
}

/* Fields that must not come twice, for two readers would pick another one of them. */
static bool keep_field(r2i_wire *w, r2i_span name, r2i_span value) {
    r2i_wire_head *h = &w->head;
    const struct {
        const char *name;
        r2i_span *to;
        const char *twice;
    } known[] = {
        { "host", &h->host, "Host: given twice" },
        { "content-length", &h->length, "Content-Length: given twice" },
        { "transfer-encoding", &h->coding, "Transfer-Encoding: given twice" },
        { "content-type", &h->content_type, "Content-Type: given twice" },
        { "origin", &h->origin, "Origin: given twice" },
        { "authorization", &h->authorization, "Authorization: given twice" },
        { "x-api-key", &h->api_key, "X-Api-Key: given twice" },
        { "expect", &h->expect, "Expect: given twice" },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!r2i_span_is(name, known[i].name)) continue;
        if (known[i].to->text != NULL) return refuse(w, 400, known[i].twice);
        *known[i].to = value;
    }
    return true;
}

static bool read_field(r2i_wire *w, r2i_span line) {
    const char *colon = memchr(line.text, ':', line.n_bytes);
    if (line.text[0] == ' ' || line.text[0] == '\t') return refuse(w, 400, "header: a folded line");
    if (colon == NULL) return refuse(w, 400, "header: expected NAME: VALUE");
    const r2i_span name = { line.text, (size_t)(colon - line.text) };
    if (!is_name(name)) return refuse(w, 400, "header: a name with other letters or spaces in it");
    const char *begin = colon + 1, *end = line.text + line.n_bytes;
    while (begin < end && (*begin == ' ' || *begin == '\t'))
        begin++;
    while (end > begin && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    for (const char *c = begin; c < end; c++) {
        if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
            return refuse(w, 400, "header: a control character");
    }
    return keep_field(w, name, (r2i_span){ begin, (size_t)(end - begin) });
}

static bool read_length(r2i_wire *w) {
    r2i_wire_head *h = &w->head;
    if (h->length.text == NULL) return true;
    if (h->length.n_bytes == 0) return refuse(w, 400, "Content-Length: expected digits");
    for (size_t i = 0; i < h->length.n_bytes; i++) {
        const char c = h->length.text[i];
        if (c < '0' || c > '9') return refuse(w, 400, "Content-Length: expected digits");
        if (h->body_bytes <= w->limits.body_bytes) /* beyond that it is refused anyway */
            h->body_bytes = h->body_bytes * 10 + (uint64_t)(c - '0');
    }
    if (h->body_bytes > w->limits.body_bytes) return refuse(w, 413, "the body is too large");
    return true;
}

static bool check_framing(r2i_wire *w) {
    r2i_wire_head *h = &w->head;
    if (h->host.text == NULL && !h->is_http_1_0) return refuse(w, 400, "Host: missing");
    if (h->coding.text != NULL && h->length.text != NULL)
        return refuse(w, 400, "Transfer-Encoding and Content-Length: expected one of them");
    if (h->coding.text != NULL && (h->is_http_1_0 || !r2i_span_is(h->coding, "chunked")))
        return refuse(w, 400, "Transfer-Encoding: expected chunked");
    h->is_chunked = h->coding.text != NULL;
    if (h->expect.text != NULL && !r2i_span_is(h->expect, "100-continue"))
        return refuse(w, 417, "Expect: expected 100-continue");
    if (!read_length(w)) return false;
    /* Where no body belongs, another reader might take it for the next request. */
    const bool is_post = h->method.n_bytes == 4 && memcmp(h->method.text, "POST", 4) == 0;
    if (!is_post && (h->is_chunked || h->body_bytes > 0))
        return refuse(w, 400, "a body: only POST has one");
    return true;
}

/* The texts of the head stay where they are from here on: it is read once more, from its beginning. */
static bool read_head(r2i_wire *w) {
    const char *at = w->bytes.bytes, *end = at + w->bytes.n_bytes - 2; /* without the empty line */
    w->head = (r2i_wire_head){ .is_chunked = false };
    int32_t n_lines = 0;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL) return refuse(w, 400, "header: a line without end");
        const r2i_span line = { at, (size_t)(stop - at) - 1 };
        if (!(n_lines == 0 ? read_request_line(w, line) : read_field(w, line))) return false;
        if (n_lines++ > w->limits.n_fields) return refuse(w, 431, "too many header fields");
        at = stop + 1;
    }
    return check_framing(w);
}

/* The library reads a line as soon as it is there, so it is refused at once. */
static bool check_line(r2i_wire *w) {
    const r2i_span line = { w->bytes.bytes + w->line_begin, w->bytes.n_bytes - w->line_begin - 2 };
    return w->line_begin == 0 ? read_request_line(w, line) : read_field(w, line);
}

/* One byte of the head.  True: it is the last one. */
static bool take_head_byte(r2i_wire *w, char c) {
    r2i_buffer *b = &w->bytes;
    if (w->is_past) { /* the request before */
        r2i_buffer_clear(b);
        w->head = (r2i_wire_head){ .is_chunked = false };
        w->line_begin = 0;
        w->is_past = false;
    }
    const bool is_after_cr = b->n_bytes > 0 && b->bytes[b->n_bytes - 1] == '\r';
    if (c == '\0') return refuse(w, 400, "header: a zero byte");
    if (is_after_cr != (c == '\n')) return refuse(w, 400, "header: CR or LF alone");
    if (b->n_bytes + 1 > w->limits.head_bytes) return refuse(w, 431, "the header is too large");
    if (b->n_bytes - w->line_begin >= w->limits.line_bytes)
        return refuse(w, w->line_begin == 0 ? 414 : 431, "a line of the header is too long");
    if (r2i_buffer_append(b, &c, 1, NULL) != R2_OK) return refuse(w, 503, "no memory");
    if (c != '\n') return false;
    const bool is_empty = b->n_bytes - w->line_begin == 2;
    if (is_empty && w->line_begin == 0) return refuse(w, 400, "request line: missing");
    if (!is_empty && !check_line(w)) return false;
    w->line_begin = b->n_bytes;
    return is_empty;
}

static void begin_body(r2i_wire *w) {
    w->state = w->head.is_chunked ? R2I_WIRE_AT_SIZE : R2I_WIRE_AT_BODY;
    w->left = w->head.is_chunked ? 0 : w->head.body_bytes;
    w->n_body = 0;
    w->n_digits = 0;
}

/* ---- chunks ---- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "1a2b" CR LF; no extension.  n_digits is -1 between CR and LF. */
static void take_size_byte(r2i_wire *w, char c) {
    enum { MAX_DIGITS = 8 };
    const int digit = hex_digit(c);
    if (w->n_digits >= 0 && digit >= 0 && w->n_digits < MAX_DIGITS) {
        w->left = w->left * 16 + (uint64_t)digit;
        w->n_digits++;
        if (w->left + w->n_body > w->limits.body_bytes)
            (void)refuse(w, 413, "the body is too large");
    } else if (w->n_digits > 0 && c == '\r') {
        w->n_digits = -1;
    } else if (w->n_digits == -1 && c == '\n') {
        w->n_body += w->left;
        w->state = w->left > 0 ? R2I_WIRE_AT_CHUNK : R2I_WIRE_AT_LAST;
        w->n_digits = 0;
    } else {
        (void)refuse(w, 400, "chunk: expected its size in hexadecimal digits");
    }
}

/* CR LF behind a chunk, and behind the last one (trailers are refused). */
static void take_end_byte(r2i_wire *w, char c, bool *is_over) {
    if (c != (w->n_digits == 0 ? '\r' : '\n')) {
        (void)refuse(w, 400, "chunk: expected CR LF behind it");
        return;
    }
    *is_over = w->n_digits++ == 1;
    if (!*is_over) return;
    w->n_digits = 0;
    w->left = 0;
}

static r2i_wire_event finish(r2i_wire *w) {
    w->is_past = true;
    w->state = R2I_WIRE_AT_HEAD;
    return R2I_WIRE_WHOLE;
}

static r2i_wire_event take_byte(r2i_wire *w, char c) {
    bool is_over = false;
    switch (w->state) {
    case R2I_WIRE_AT_HEAD:
        if (!take_head_byte(w, c) || !read_head(w)) break;
        begin_body(w);
        return R2I_WIRE_HEAD;
    case R2I_WIRE_AT_SIZE:
        take_size_byte(w, c);
        break;
    case R2I_WIRE_AT_CHUNK_END:
        take_end_byte(w, c, &is_over);
        if (is_over) w->state = R2I_WIRE_AT_SIZE;
        break;
    case R2I_WIRE_AT_LAST:
        take_end_byte(w, c, &is_over);
        if (is_over) return finish(w);
        break;
    case R2I_WIRE_AT_BODY:
    case R2I_WIRE_AT_CHUNK:
    case R2I_WIRE_REFUSED:
        break;
    }
    return w->state == R2I_WIRE_REFUSED ? R2I_WIRE_REFUSE : R2I_WIRE_MORE;
}

r2i_wire_event r2i_wire_feed(r2i_wire *w, const char *bytes, size_t n_bytes, size_t *n_used) {
    *n_used = 0;
    if (w->state == R2I_WIRE_REFUSED) return R2I_WIRE_REFUSE;
    for (;;) {
        if (w->state == R2I_WIRE_AT_BODY && w->left == 0) return finish(w);
        if (*n_used == n_bytes) return R2I_WIRE_MORE;
        if (w->state == R2I_WIRE_AT_BODY || w->state == R2I_WIRE_AT_CHUNK) {
            const size_t n_here = n_bytes - *n_used;
            const size_t n = w->left < n_here ? (size_t)w->left : n_here;
            *n_used += n;
            w->left -= n;
            if (w->left == 0 && w->state == R2I_WIRE_AT_CHUNK) w->state = R2I_WIRE_AT_CHUNK_END;
            continue;
        }
        const r2i_wire_event event = take_byte(w, bytes[(*n_used)++]);
        if (event != R2I_WIRE_MORE) return event;
    }
}
