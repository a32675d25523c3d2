//! Sockets: the recording proxy and the scripted model server.
