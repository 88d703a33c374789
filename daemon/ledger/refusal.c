/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "internal.h"

void refusal_set(struct refusal *refusal, enum shmb_status status, uint64_t limit,
                 uint64_t used, const char *format, ...) {
        va_list ap;

        refusal->status = status;
        refusal->limit = limit;
        refusal->used = used;
        va_start(ap, format);
        vsnprintf(refusal->text, sizeof(refusal->text), format, ap);
        va_end(ap);
}
