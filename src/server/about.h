/* about.h - what the server says about itself and its model: handlers of GET routes. */
#ifndef R2I_ABOUT_H
#define R2I_ABOUT_H
#include "server/server_state.h"

/* about.c */
void r2i_show_health(r2i_server *server, struct evhttp_request *request, const char *path);
void r2i_show_version(r2i_server *server, struct evhttp_request *request, const char *path);
void r2i_show_metrics(r2i_server *server, struct evhttp_request *request, const char *path);
void r2i_show_props(r2i_server *server, struct evhttp_request *request, const char *path);
void r2i_show_slots(r2i_server *server, struct evhttp_request *request, const char *path);
/* model_list.c */
void r2i_list_models(r2i_server *server, struct evhttp_request *request, const char *path);
void r2i_show_model(r2i_server *server, struct evhttp_request *request, const char *path);
#endif
