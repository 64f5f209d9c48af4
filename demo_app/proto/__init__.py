"""The services' contracts (*.proto) and the code the build makes from them."""
