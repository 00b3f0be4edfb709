/*
 * Functions that this program does not use; every source file gets this header first (-include, see
 * meson.build). After git's banned.h.
 */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

/* the real declarations must come before the macros */
#include <alloca.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BANNED(func) sorry_##func##_is_a_banned_function

/* no bound: snprintf(), base/str, or memcpy() with a known length */
#undef strcpy
#define strcpy(...) BANNED(strcpy)
#undef strcat
#define strcat(...) BANNED(strcat)
#undef sprintf
#define sprintf(...) BANNED(sprintf)
#undef vsprintf
#define vsprintf(...) BANNED(vsprintf)

/* hidden state: strtok_r(), localtime_r(), gmtime_r(), getrandom() */
#undef strtok
#define strtok(...) BANNED(strtok)
#undef localtime
#define localtime(...) BANNED(localtime)
#undef gmtime
#define gmtime(...) BANNED(gmtime)
#undef rand
#define rand(...) BANNED(rand)

/* no error: strtol(), strtoll() */
#undef atoi
#define atoi(...) BANNED(atoi)
#undef atol
#define atol(...) BANNED(atol)
#undef atoll
#define atoll(...) BANNED(atoll)

/* a shell sees our arguments: fork() and exec with an argument array */
#undef system
#define system(...) BANNED(system)
#undef popen
#define popen(...) BANNED(popen)

/* an unchecked stack: talloc */
#undef alloca
#define alloca(...) BANNED(alloca)

#endif
