// Package live shows a storm while it runs: on a terminal a block that is painted over, elsewhere a line every 5 s without
// any escape code.
//
// Every row's line is the whole run: once there are more samples than columns, a column is the highest of its samples,
// so that no peak is lost. Memory does not grow with the run: past maxPoints two neighbours become one.
//
// The terminal is asked for its width at every frame, and no line is as wide as it. How a frame comes onto the terminal and
// leaves it: pkg/screen. A terminal that is gone is no reason to stop a run: errors of the output are dropped. With NO_COLOR
// in the environment there are no colours.
package live
