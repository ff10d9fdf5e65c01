package cluster

// Fabric carries messages between bridges. It may lose them, and then a link ends;
// it need not keep copies away.
type Fabric interface {
	// Publish sends data to those who subscribed to subject. With reply, if nobody
	// did, that is said to whoever subscribed to reply. It keeps nothing of data.
	Publish(subject, reply string, data []byte) error
	// Subscribe has handle called for each message of subject, whose last token may
	// be "*": one at a time, and those of one bridge in the order in which they were
	// published. It may keep the data. handle must not wait.
	Subscribe(subject string, handle func(Delivery)) (cancel func(), err error)
	// Watch has changed called when the connection is lost, even if it is there again,
	// and when it is there.
	Watch(changed func(connected bool)) (cancel func())
	// Connected reports whether messages can be sent.
	Connected() bool
	// Server names the server that it is connected to.
	Server() string
	// MaxPayload is the most bytes of one message.
	MaxPayload() int
}

// Delivery is what a subscriber gets.
type Delivery struct {
	Subject string
	Data    []byte
	// NoResponders: nobody had subscribed to the subject of a message that named
	// this one as its reply.
	NoResponders bool
}
