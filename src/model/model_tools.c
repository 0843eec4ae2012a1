/* model_tools.c - tool calls in the syntax of a model: parser and grammar for its vocabulary. */
#include <string.h>

#include "base/failure.h"
#include "files/json_read.h"
#include "model/model_grammar.h"
#include "r2lm/tools.h"
#include "text/grammar_tools.h"
#include "text/tool_parser.h"

enum { MAX_PIECES_BYTES = 1 << 26 };

struct r2_tool_parser {
    r2i_heap *heap;
    json_t *tools;
    r2i_tool_parser parser;
    r2i_buffer shown; /* r2_answer_piece */
};

static r2_status read_tools(const char *text, json_t **out, r2_error *err) {
    R2I_TRY(r2i_json_read(out, "tools", text, strlen(text), &r2i_json_config_limits, err));
    if (json_is_array(*out)) return R2_OK;
    json_decref(*out);
    *out = NULL;
    return r2i_fail(err, R2_E_FORMAT, "tools: expected an array");
}

r2_status r2_tool_parser_create(r2_tool_parser **out, const r2_model *model, const char *tools_json,
                                r2_error *err) {
    json_t *tools;
    r2i_heap *heap = &((r2_model *)(uintptr_t)model)->heap;
    *out = NULL;
    if (model->tokenizer == NULL)
        return r2i_fail(err, R2_E_UNSUPPORTED, "the model has no tokenizer");
    R2I_TRY(read_tools(tools_json, &tools, err));
    r2_tool_parser *p = r2i_heap_take(heap, sizeof *p);
    if (p == NULL) {
        json_decref(tools);
        return r2i_fail(err, R2_E_NOMEM, "no memory for a parser of tool calls");
    }
    *p = (r2_tool_parser){ .heap = heap, .tools = tools };
    r2i_tool_parser_init(&p->parser, &model->tool_syntax, tools, model->tokenizer, heap);
    r2i_buffer_init(&p->shown, heap, MAX_PIECES_BYTES);
    *out = p;
    return R2_OK;
}

void r2_tool_parser_destroy(r2_tool_parser *p) {
    if (p == NULL) return;
    r2i_tool_parser_destroy(&p->parser);
    r2i_buffer_destroy(&p->shown);
    json_decref(p->tools);
    r2i_heap_give(p->heap, p, sizeof *p);
}

static r2_status show(r2_tool_parser *p, const r2_answer_piece **pieces, int32_t *n_pieces,
                      r2_error *err) {
    static const r2_piece_kind kinds[] = { R2_PIECE_CONTENT, R2_PIECE_CALL, R2_PIECE_ARGUMENTS };
    size_t n;
    const r2i_call_piece *found = r2i_tool_parser_pieces(&p->parser, &n);
    r2i_buffer_clear(&p->shown);
    for (size_t i = 0; i < n; i++) {
        const r2_answer_piece piece = { kinds[found[i].kind], found[i].call,
                                        p->parser.text.bytes + found[i].begin, found[i].n_bytes };
        R2I_TRY(r2i_buffer_append(&p->shown, &piece, sizeof piece, err));
    }
    *pieces = (const r2_answer_piece *)(const void *)p->shown.bytes;
    *n_pieces = (int32_t)n;
    return R2_OK;
}

r2_status r2_tool_parser_feed(r2_tool_parser *p, r2_token token, const r2_answer_piece **pieces,
                              int32_t *n_pieces, r2_error *err) {
    *n_pieces = 0;
    R2I_TRY(r2i_tool_parser_feed(&p->parser, token, err));
    return show(p, pieces, n_pieces, err);
}

r2_status r2_tool_parser_finish(r2_tool_parser *p, const r2_answer_piece **pieces,
                                int32_t *n_pieces, r2_error *err) {
    *n_pieces = 0;
    R2I_TRY(r2i_tool_parser_finish(&p->parser, err));
    return show(p, pieces, n_pieces, err);
}

int32_t r2_tool_parser_n_calls(const r2_tool_parser *p) {
    return r2i_tool_parser_n_complete(&p->parser);
}

bool r2_tool_parser_is_in_call(const r2_tool_parser *p) {
    return r2i_tool_parser_is_in_call(&p->parser);
}

/* ---- grammar ---- */

static r2_status read_wanted(r2i_grammar_draft *draft, const void *wanted, r2_error *err) {
    return r2i_tools_read(draft, wanted, err);
}

r2_status r2_grammar_from_tools(r2_grammar **out, const r2_model *model,
                                const r2_tool_options *options, r2_error *err) {
    json_t *tools, *content = NULL;
    *out = NULL;
    R2I_TRY(read_tools(options->tools_json, &tools, err));
    r2_status status =
        options->content_schema_json == NULL
            ? R2_OK
            : r2i_json_read(&content, "schema", options->content_schema_json,
                            strlen(options->content_schema_json), &r2i_json_config_limits, err);
    const r2i_tools_wanted wanted = { .syntax = &model->tool_syntax,
                                      .tools = tools,
                                      .name = options->name,
                                      .is_required = options->choice == R2_TOOLS_REQUIRED,
                                      .is_single = options->is_single,
                                      .content = content };
    if (status == R2_OK && r2i_tools_need_grammar(&wanted))
        status = r2i_model_make_grammar(out, model, read_wanted, &wanted, err);
    json_decref(tools);
    json_decref(content);
    return status;
}
