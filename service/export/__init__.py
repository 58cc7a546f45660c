"""Trained models as files: for other programs (ONNX, torch.export), and for another Trainyard (safetensors) and back."""
