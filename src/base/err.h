/*
 * Errors are values: filled where they are detected, enriched on the way up, shown at the edge.
 *
 * Every function that can fail returns bool (or a pointer) and takes an `Err *err` as its last
 * argument. err_set() at detection and err_add() for context both return false, so that they can be
 * returned at once. Only command mains, the worker loop and the step engine print an Err.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

typedef enum ErrKind {
    ERR_NONE,
    ERR_USAGE,     /* the command line or a setting is wrong */
    ERR_REFUSED,   /* preflight refuses; nothing was changed */
    ERR_CONNECT,   /* a connection could not be made, or was lost */
    ERR_SQL,       /* a server reported an error; see sqlstate */
    ERR_STATE,     /* the nodes are not in the state this needs */
    ERR_IO,        /* files, processes */
    ERR_TIMEOUT,   /* a time limit of ours passed */
    ERR_CANCELED,  /* interrupted by a signal, or the parent process is gone */
    ERR_ABORTED,   /* a switchover was given up and writes are restored on the old node */
    ERR_DIFFERENT, /* verify found differences */
    ERR_BUG        /* a broken assumption of our own */
} ErrKind;

typedef struct Err {
    ErrKind kind;
    char sqlstate[6]; /* "" unless a server reported it */
    char *msg;        /* lower case start, no full stop */
    char *detail;     /* sentences, or NULL */
    char *hint;       /* sentences, or NULL */
} Err;

/* a new, empty error owned by ctx */
Err *err_new(const void *ctx);

/* back to "no error"; frees the texts */
void err_clear(Err *err);

/* records an error; always false */
bool err_set(Err *err, ErrKind kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* puts "<text>: " before the message, e.g. "while copying public.t"; always false */
bool err_add(Err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* adds sentences behind the message; always false */
bool err_detail(Err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool err_hint(Err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* copies all of src (texts too) into dst; always false */
bool err_copy(Err *dst, const Err *src);

/* the process's exit code for a kind: the only place that decides it */
int err_exit_code(ErrKind kind);

#endif
