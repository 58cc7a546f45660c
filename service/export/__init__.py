"""Trained models as files: for other programs (ONNX, torch.export), for another Trainyard (safetensors), and back."""
