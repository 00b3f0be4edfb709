/* The system's log: see log_syslog.h. */
#include "base/log_syslog.h"

#include <syslog.h>

void log_syslog_open(void)
{
    openlog("pgtandem", LOG_PID, LOG_DAEMON);
}

void log_syslog_put(int level, const char *who, const char *text)
{
    static const int priorities[] = {LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR};

    syslog(priorities[level], "%s%s%s", who, who[0] == '\0' ? "" : ": ", text);
}
