/*
 * Whose an edge is: several configuration files, of several people, may share a database, and nobody may take away
 * what is another one's. So the rows of an edge say whose file it is in, and only that file's service takes it away
 * when the file does not have it any more.
 */
#ifndef DAEMON_OWNER_H
#define DAEMON_OWNER_H

#include "base/err.h"
#include "base/mem.h"
#include "model/service.h"

/*
 * The file's name, if it has one; else the number in the file beside it with the host's name, so that a copy on
 * another machine is somebody else. "" when there is neither: then nothing is known to be ours. Belongs to ctx.
 */
const char *owner_of(const void *ctx, const Service *service);

/* makes the number, unless it is there or a name stands for it */
CHECKED bool owner_make(const Service *service, Err *err);

#endif
