// What the core gets along with: little stack, and fork; and what threads that share one sample make of it.
#pragma once

// Every family, width and sort of input on every instruction set, in threads of 64 KB. Before any other thread of the pool is made.
void small_stacks();
// A child of a process whose pool has threads makes its own.
void forked_children();
// One sample's parts by 1, 2, 3 and 7 threads: the same bytes, values and refusals. One case in `share`.
void shared_samples(unsigned share);
// Tasks that share out tasks, for several callers at a time.
void nested_tasks();
// Tasks that take turns, one of which throws.
void turns_in_order();
