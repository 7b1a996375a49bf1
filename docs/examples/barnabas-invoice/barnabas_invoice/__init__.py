"""A kind of task for Barnabas that is no part of it: `invoice.total`."""
