package simulate

import "slices"

const chunkBits = 12

// slab holds records by number. It grows by chunks, so records never move, and uses numbers again that were freed. The zero value works.
type slab[T any] struct {
	chunks []*[1 << chunkBits]T
	free   []int32
	used   int32
}

// New returns the number of a record that is not in use; what it holds is what its last user left.
func (s *slab[T]) New() int32 {
	if n := len(s.free); n > 0 {
		number := s.free[n-1]
		s.free = s.free[:n-1]
		return number
	}
	if int(s.used)>>chunkBits == len(s.chunks) {
		s.chunks = append(s.chunks, new([1 << chunkBits]T))
	}
	s.used++
	return s.used - 1
}

// At is the record of a number. It stays where it is.
func (s *slab[T]) At(number int32) *T {
	return &s.chunks[number>>chunkBits][number&(1<<chunkBits-1)]
}

// Free says that the record is not used any more.
func (s *slab[T]) Free(number int32) { s.free = append(s.free, number) }

// Len is how many are in use.
func (s *slab[T]) Len() int { return int(s.used) - len(s.free) }

// Used is one more than the highest number that was ever in use.
func (s *slab[T]) Used() int32 { return s.used }

// fifo is a line. Taking from an empty one panics: that is a fault of the caller. The zero value works.
type fifo[T any] struct {
	chunks [][]T // the first one from at on
	at     int
	spare  []T // of the chunk that was emptied last
	len    int
}

const fifoChunk = 4096

// Len is how many are in line.
func (f *fifo[T]) Len() int { return f.len }

// Push adds to the line's end.
func (f *fifo[T]) Push(v T) {
	last := len(f.chunks) - 1
	if last < 0 || len(f.chunks[last]) == fifoChunk {
		chunk := f.spare
		if f.spare = nil; chunk == nil {
			chunk = make([]T, 0, fifoChunk)
		}
		f.chunks = append(f.chunks, chunk)
		last++
	}
	f.chunks[last] = append(f.chunks[last], v)
	f.len++
}

// First is the line's head; there is one.
func (f *fifo[T]) First() T { return f.chunks[0][f.at] }

// Pop takes the head; there is one.
func (f *fifo[T]) Pop() T {
	v := f.chunks[0][f.at]
	f.at++
	f.len--
	if f.at == len(f.chunks[0]) && (f.at == fifoChunk || f.len == 0) {
		f.spare, f.at = f.chunks[0][:0], 0
		f.chunks = slices.Delete(f.chunks, 0, 1)
	}
	return v
}
