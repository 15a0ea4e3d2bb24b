//! What the fuzz targets call, one function a target: any octets in, and a property asserted, not only "no crash".
