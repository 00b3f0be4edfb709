/* The system's log. A file of its own, as the names of <syslog.h> are macros that hide those of base/log.h. */
#ifndef BASE_LOG_SYSLOG_H
#define BASE_LOG_SYSLOG_H

void log_syslog_open(void);

/* level: 0 debug, 1 info, 2 warning, 3 error, as in LogLevel */
void log_syslog_put(int level, const char *who, const char *text);

#endif
