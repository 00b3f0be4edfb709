/* The service's log: see service_log.h. */
#include "daemon/service_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

void open_log(const Service *service)
{
    const char *file = service->log_file != NULL ? service->log_file : getenv(LOG_FILE_VARIABLE);

    log_with_date();
    log_set_format((LogFormat)service->log_format);
    if (file == NULL)
        return;
    if (strcmp(file, LOG_FILE_SYSLOG) == 0)
        log_to_syslog();
    else if (!log_to_file(file))
        log_warn("the log file %s could not be opened: %s", file, strerror(errno));
}
