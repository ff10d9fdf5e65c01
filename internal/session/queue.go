package session

// queue is a FIFO that lets go of its memory when it is empty.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) at(i int) *T { return &q.items[q.head+i] }

func (q *queue[T]) push(v T) {
	if q.head > 32 && q.head*2 >= len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	if q.items == nil {
		q.items = make([]T, 0, 4)
	}
	q.items = append(q.items, v)
}

func (q *queue[T]) pop() T {
	v := q.items[q.head]
	q.drop()
	return v
}

// drop lets go of the first item.
func (q *queue[T]) drop() {
	var zero T
	q.items[q.head] = zero
	q.head++
	if q.head == len(q.items) {
		q.reset()
	}
}

// reset empties the queue, keeping a small backing array for the next use.
func (q *queue[T]) reset() {
	if cap(q.items) > 64 {
		q.items = nil
	}
	clear(q.items)
	q.items, q.head = q.items[:0], 0
}

// streamList is a FIFO of streams, each of which is in one at most.
type streamList struct{ first, last *Stream }

func (l *streamList) push(st *Stream) {
	if l.first == nil {
		l.first = st
	} else {
		l.last.behind = st
	}
	l.last = st
}

// pop gives the first stream; nil: there is none.
func (l *streamList) pop() *Stream {
	st := l.first
	if st != nil {
		l.first, st.behind = st.behind, nil
	}
	return st
}

// remove takes a stream out. It reports false if it was not in the list.
func (l *streamList) remove(st *Stream) bool {
	found := false
	rest := *l
	*l = streamList{}
	for s := rest.pop(); s != nil; s = rest.pop() {
		if s == st {
			found = true
		} else {
			l.push(s)
		}
	}
	return found
}
