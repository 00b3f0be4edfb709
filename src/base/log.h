/*
 * What a person reads while the program works: one line per event on standard error, with the time.
 * Results (status, verify's table) go to standard output instead.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"

/* how lines look; the numbers are those of the choices in conf/settings.c */
typedef enum LogFormat { LOG_TEXT, LOG_JSON } LogFormat;

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } LogLevel;

/* messages below level are dropped; who ("" or e.g. "worker 3") is put before each line */
void log_init(LogLevel level, const char *who);
LogLevel log_level(void);
/* lines begin with the date, too: for logs that are kept */
void log_with_date(void);
void log_set_format(LogFormat format);
/* lines go to the system's log from now on */
void log_to_syslog(void);
/*
 * Lines go to the end of that file from now on; called again, it opens the file of that name anew. False
 * with errno when it cannot be opened; then nothing has changed.
 */
bool log_to_file(const char *path);

void log_msg(LogLevel level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_msg(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)

/* prints message, detail and hint of err at level */
void log_err(LogLevel level, const Err *err);

/*
 * Progress of long work, e.g. "copy 45 %, 12.3 MB/s, 1m20s left": on a terminal one line that is
 * written over, otherwise a line every few seconds. log_progress_end() takes it away.
 */
void log_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_progress_end(void);

#endif
