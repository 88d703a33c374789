/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes, durations and numbers of the configuration, as text and back. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CONFIG_TEXT_SIZE 32u /* room for every number formatted here */

/* All return 0, or -EINVAL for what is not one, or -ERANGE for what does not fit 64 bits. */

/* Bytes: digits, or digits with K, M, G, T (times 1024). */
int config_parse_size(const char *text, uint64_t *ret_bytes);

/* "1%" to "100%"; -EINVAL if there is no percent sign. */
int config_parse_percent(const char *text, unsigned *ret_percent);

/* Digits, read as seconds, or digits with ns, us, ms, s, min, h, d. */
int config_parse_duration(const char *text, uint64_t *ret_ns);

int config_parse_number(const char *text, uint64_t *ret_number);

int config_parse_octal(const char *text, uint64_t *ret_number);

/* Exact, in the largest unit that allows it; UINT64_MAX is "infinity". */
void config_format_size(uint64_t bytes, char text[CONFIG_TEXT_SIZE]);
void config_format_duration(uint64_t ns, char text[CONFIG_TEXT_SIZE]);

/* A name or a number, of the user and group databases; -ENOENT for an unknown name. */
int config_parse_user(const char *text, uid_t *ret_uid);
int config_parse_group(const char *text, gid_t *ret_gid);
