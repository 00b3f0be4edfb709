/* Where the service's log goes: the same for the supervisor and its workers. */
#ifndef DAEMON_SERVICE_LOG_H
#define DAEMON_SERVICE_LOG_H

#include "model/service.h"

/* in a worker's environment: the log where the file names none */
#define LOG_FILE_VARIABLE "PGTANDEM_SERVICE_LOG"

/* opens the log that the file asks for, or opens it anew; what cannot be opened is told where it went before */
void open_log(const Service *service);

#endif
