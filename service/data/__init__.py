"""Tables of data: file formats, profiles of columns, and the way from raw rows to tensors."""
