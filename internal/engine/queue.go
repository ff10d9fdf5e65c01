package engine

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
