/* Memory by owner: see mem.h. */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

void *mem_or_die(void *p)
{
    if (p == NULL) {
        fputs("pgtandem: out of memory\n", stderr);
        abort();
    }
    return p;
}

void mem_auto_free(void *pctx)
{
    void **ctx = pctx;

    talloc_free(*ctx);
}
