/* Log lines and progress: see log.h. */
#include "base/log.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_syslog.h"

enum { PROGRESS_LINE_MS = 5000, PROGRESS_TTY_MS = 150 };

static LogLevel min_level = LOG_INFO;
static char who[64];
static bool with_date;
static bool to_syslog;
static LogFormat format;
static bool progress_shown; /* the terminal's cursor is behind a progress text */
static int64_t progress_last_ms;

void log_init(LogLevel level, const char *name)
{
    min_level = level;
    snprintf(who, sizeof who, "%s", name);
}

void log_with_date(void)
{
    with_date = true;
}

void log_set_format(LogFormat new_format)
{
    format = new_format;
}

void log_to_syslog(void)
{
    log_syslog_open();
    to_syslog = true;
}

bool log_to_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);

    if (fd < 0)
        return false;
    dup2(fd, STDERR_FILENO);
    close(fd);
    return true;
}

LogLevel log_level(void)
{
    return min_level;
}

static void end_progress(void)
{
    if (progress_shown)
        fputs("\r\033[K", stderr);
    progress_shown = false;
}

static void put_json(LogLevel level, const char *stamp, const char *text)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    json_t *json =
        json_pack("{s:s, s:s, s:s}", "time", stamp, "level", names[level], "message", text);
    char *line;

    if (json == NULL)
        return; /* no UTF-8 */
    if (who[0] != '\0')
        json_object_set_new(json, "edge", json_string(who));
    line = json_dumps(json, JSON_COMPACT);
    if (line != NULL)
        fprintf(stderr, "%s\n", line);
    free(line);
    json_decref(json);
}

static void put_line(LogLevel level, const char *label, const char *text)
{
    static const char *const names[] = {"debug: ", "", "warning: ", "error: "};
    struct timespec now;
    struct tm tm;
    char day[32], second[32], stamp[96];

    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &tm);
    strftime(day, sizeof day, "%Y-%m-%d ", &tm);
    strftime(second, sizeof second, "%H:%M:%S", &tm);
    snprintf(stamp, sizeof stamp, "%s%s.%03ld", with_date ? day : "", second,
             now.tv_nsec / 1000000);
    end_progress();
    if (to_syslog)
        log_syslog_put((int)level, who, text);
    else if (format == LOG_JSON)
        put_json(level, stamp, text);
    else
        fprintf(stderr, "%s %s%s%s%s\n", stamp, who, who[0] == '\0' ? "" : ": ",
                label == NULL ? names[level] : label, text);
}

void log_msg(LogLevel level, const char *fmt, ...)
{
    char text[8192];
    va_list args;

    if (level < min_level)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    put_line(level, NULL, text);
}

void log_err(LogLevel level, const Err *err)
{
    if (level < min_level)
        return;
    put_line(level, NULL, err->msg == NULL ? "unknown error" : err->msg);
    if (err->detail != NULL)
        put_line(level, "  detail: ", err->detail);
    if (err->hint != NULL)
        put_line(level, "  hint: ", err->hint);
}

void log_progress_end(void)
{
    end_progress();
    progress_last_ms = 0;
}

void log_progress(const char *fmt, ...)
{
    bool tty = isatty(STDERR_FILENO) == 1;
    char text[512];
    va_list args;

    if (LOG_INFO < min_level)
        return;
    if (clock_ms() - progress_last_ms < (tty ? PROGRESS_TTY_MS : PROGRESS_LINE_MS))
        return;
    progress_last_ms = clock_ms();
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!tty) {
        put_line(LOG_INFO, NULL, text);
        return;
    }
    fprintf(stderr, "\r\033[K%s", text);
    fflush(stderr);
    progress_shown = true;
}
