"""What a variant costs against its parent, measured and drawn."""
