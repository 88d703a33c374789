/* SPDX-License-Identifier: Apache-2.0 */
/* Names and errno values of enum shmb_status. */
#pragma once

#include <stdint.h>

#include "shmbroker-proto.h"

/* "token-unknown", ...; "unknown-status" for a number without a name. Static. */
const char *shmb_status_name(uint32_t status);

/* A sentence for the status alone, for when no richer text came. Static. */
const char *shmb_status_text(uint32_t status);

/* The negative errno the library returns for it; -EPROTO for a number without a name. */
int shmb_status_errno(uint32_t status);
