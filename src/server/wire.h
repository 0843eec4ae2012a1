/* wire.h - is what a client sends HTTP/1.1 that can be read in one way only?
 *
 * Bytes pass by here before the HTTP library sees them.  What two readers could understand differently
 * (two lengths, a length and chunks, bare CR or LF, folded lines, spaces in odd places, no or two Hosts)
 * is refused, so that our reading and the library's agree on where a request ends.  Knows no sockets. */
#ifndef R2I_WIRE_H
#define R2I_WIRE_H
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

typedef struct {
    size_t line_bytes, head_bytes, body_bytes;
    int32_t n_fields;
} r2i_wire_limits;

typedef struct {
    const char *text; /* not terminated; NULL: the field is absent */
    size_t n_bytes;
} r2i_span;

/* A request's head; texts are borrowed until the next request begins. */
typedef struct {
    r2i_span method, target;
    r2i_span host, origin, authorization, api_key, content_type, length, coding, expect;
    bool is_http_1_0, is_chunked;
    uint64_t body_bytes; /* when not chunked */
} r2i_wire_head;

typedef enum {
    R2I_WIRE_AT_HEAD,
    R2I_WIRE_AT_BODY,
    R2I_WIRE_AT_SIZE, /* a chunk's */
    R2I_WIRE_AT_CHUNK,
    R2I_WIRE_AT_CHUNK_END,
    R2I_WIRE_AT_LAST,
    R2I_WIRE_REFUSED
} r2i_wire_state;

typedef struct {
    r2i_wire_limits limits;
    r2i_wire_state state;
    r2i_buffer bytes; /* of the head */
    r2i_wire_head head;
    uint64_t left; /* bytes of the body, or of the chunk with its CRLF */
    uint64_t n_body;
    int32_t n_digits;
    size_t line_begin;
    bool is_past;     /* `bytes` are those of the request before */
    int http;         /* why it was refused: 400, 413, 414, 417, 431, 505 */
    const char *text; /* in words */
} r2i_wire;

typedef enum { R2I_WIRE_MORE, R2I_WIRE_HEAD, R2I_WIRE_WHOLE, R2I_WIRE_REFUSE } r2i_wire_event;

void r2i_wire_init(r2i_wire *wire, r2i_heap *heap, const r2i_wire_limits *limits);
void r2i_wire_destroy(r2i_wire *wire);
/* Reads on until something happened or the bytes are used up; *n_used says how many were.  HEAD: a head is
 * complete.  WHOLE: so is the request (for one without a body at the next call, which may have no bytes).
 * MORE: all was read.  REFUSE: see http and text; nothing further is read. */
r2i_wire_event r2i_wire_feed(r2i_wire *wire, const char *bytes, size_t n_bytes, size_t *n_used);
/* Nothing of a request has come yet. */
bool r2i_wire_is_between(const r2i_wire *wire);
/* Same text, letters in any case. */
bool r2i_span_is(r2i_span span, const char *text);
#endif
