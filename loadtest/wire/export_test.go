package wire

// SetLastStreamID makes connections of the client run out of streams soon. It must come before Run.
func (c *Client) SetLastStreamID(id uint32) { c.lastStreamID = id }
